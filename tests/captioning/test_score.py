"""A teacher-forced pass gives the probabilities that the model gives word by word, in each array library and runtime."""

from __future__ import annotations

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
from framecap.captioning.score import score
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
            said = [*words, END]
            expected = [model.log_probabilities(frame, tuple(said[:n]))[word] for n, word in enumerate(said)]
            assert mean == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_word_that_is_never_said_is_impossible() -> None:
    ((found,),) = score(TableDecoder(RandomModel(WORDS, 1), 1), [[[UNKNOWN]]], END)
    assert found == -np.inf


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_caption_s_own_score_is_its_confidence(tiny_bundle: Path, runtime: str) -> None:
    config = CaptioningConfig.model_validate({"runtime": runtime, "bundle": str(tiny_bundle)})
    bundle = open_bundle(config.bundle)
    captioner = BundleCaptioner(bundle, load_runtime(bundle, config), config)
    images = np.random.default_rng(1).integers(0, 255, (6, SIZE, SIZE, 3)).astype(np.uint8)
    captions = [caption for caption in captioner.caption(images) if isinstance(caption, Caption) and not caption.truncated]
    assert captions
    whole = [(caption.words, ("a", "ball")) for caption in captions]
    places = [
        n for n, caption in enumerate(captioner.caption(images)) if isinstance(caption, Caption) and not caption.truncated
    ]
    found = captioner.score(images[places], whole)
    for caption, (own, other) in zip(captions, found, strict=True):
        assert caption.confidence == pytest.approx(np.exp(own), rel=1e-3), "the tiny bundle is not calibrated"
        assert other < 0
