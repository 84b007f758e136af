"""A teacher-forced pass gives the probabilities that the model gives word by word, in each array library and runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.captioning.bundle import open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_runtime
from framecap.captioning.log_probabilities import score
from framecap.config import CaptioningConfig
from tests.captioning.tables import END, UNKNOWN, RandomModel, TableDecoder
from tests.tiny import SIZE

WORDS = 9
SENTENCES = st.lists(
    st.lists(st.lists(st.integers(UNKNOWN + 1, WORDS - 1), max_size=5), min_size=1, max_size=3), min_size=1, max_size=4
)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@given(sentences=SENTENCES, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_it_is_the_mean_of_the_words_own(convert: object, sentences: list[list[list[int]]], seed: int) -> None:
    model = RandomModel(WORDS, seed)
    found = score(TableDecoder(model, len(sentences), convert), sentences, END)  # type: ignore[arg-type]
    for frame, several in enumerate(sentences):
        for words, mean in zip(several, found[frame], strict=True):
            output = [*words, END]
            expected = [model.log_probabilities(frame, tuple(output[:n]))[word] for n, word in enumerate(output)]
            assert mean == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_an_unlikely_word_is_as_good_as_impossible(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("framecap.captioning.log_probabilities.LIKELY", 3)
    model = RandomModel(WORDS, seed)
    numbers = model.log_probabilities(0, ())
    ranked = sorted(range(UNKNOWN + 1, WORDS), key=lambda word: -numbers[word])
    first, last = ranked[0], ranked[4]
    after = model.log_probabilities(0, (first,))
    end_is_likely = sorted(after)[-3] <= after[END]
    ((found, unlikely),) = score(TableDecoder(model, 1), [[[first], [last]]], END)
    assert unlikely == -np.inf
    assert found == (pytest.approx((numbers[first] + after[END]) / 2) if end_is_likely else -np.inf)


def test_a_word_that_is_never_reported_is_impossible() -> None:
    ((found,),) = score(TableDecoder(RandomModel(WORDS, 1), 1), [[[UNKNOWN]]], END)
    assert found == -np.inf


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_caption_s_own_score_is_its_confidence(tiny_bundle: Path, runtime: str) -> None:
    config = CaptioningConfig.model_validate({"runtime": runtime, "bundle": str(tiny_bundle)})
    bundle = open_bundle(config.bundle)
    captioner = BundleCaptioner(bundle, load_runtime(bundle, config), config)
    images = np.random.default_rng(1).integers(0, 255, (6, SIZE, SIZE, 3)).astype(np.uint8)
    captioned = [
        (image, caption)
        for image, caption in zip(images, captioner.caption(images), strict=True)
        if isinstance(caption, Caption) and not caption.truncated
    ]
    assert captioned
    locations, captions = zip(*captioned[::-1], strict=True)
    scores = captioner.encode(locations, captions)
    found = scores([(caption.words, ("a", "ball")) for caption in captions])
    for caption, (own, other) in zip(captions, found, strict=True):
        assert caption.confidence == pytest.approx(np.exp(own), rel=1e-3), "the tiny bundle is not calibrated"
        assert other < 0
    again = scores([(("a", "ball"),) for _ in captions])
    assert again == [[pytest.approx(other)] for _, other in found], "each asking begins anew"


def test_what_was_seen_is_not_looked_at_again(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CaptioningConfig.model_validate({"bundle": str(tiny_bundle)})
    bundle = open_bundle(config.bundle)
    captioner = BundleCaptioner(bundle, load_runtime(bundle, config), config)
    captioner.remembers = True
    images = np.random.default_rng(1).integers(0, 255, (3, SIZE, SIZE, 3)).astype(np.uint8)
    captions = [caption for caption in captioner.caption(images) if isinstance(caption, Caption)]
    assert len(captions) == 3
    own = [[caption.words] for caption in captions]
    expected = captioner.encode(images, [replace(caption, seen=None) for caption in captions])(own)
    monkeypatch.delattr(captioner.runtime, "encoder")
    assert captioner.encode(images, captions)(own) == [[pytest.approx(score)] for (score,) in expected]
