"""calibrate: what a confidence is worth, and what the sidecar says of it afterwards."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from framecap.captioning.bundle import CalibrationCard, open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_runtime
from framecap.config import CaptioningConfig
from framecap.errors import ConfigError
from tests.tiny import draw_image
from train.data.dataset import Split
from train.evaluation import calibrate as module
from train.evaluation.calibrate import calibrate, calibration_of, fits, reliability

CONFIG = CaptioningConfig(runtime="onnx", beam=2)
SLOPE, INTERCEPT = 4.0, 3.0
ANIMALS = ("dog", "cat", "horse", "bird", "cow", "sheep", "goat", "duck")


def made_up(photos: int, seed: int) -> tuple[Split, list[Caption]]:
    """Captions that fit with the probability that SLOPE and INTERCEPT say; those that do not are of another animal."""
    chance = np.random.default_rng(seed)
    references, captions = [], []
    for photo in range(photos):
        animal = ANIMALS[photo % len(ANIMALS)]
        address = f"place{photo // len(ANIMALS)}"
        sentence = ["a", animal, "stands", "at", address]
        references.append([[*sentence, word] for word in ("today", "now", "there", "alone")])
        confidence = float(chance.uniform(0.2, 0.9))
        right = chance.random() < 1 / (1 + math.exp(-(SLOPE * math.log(confidence) + INTERCEPT)))
        words = tuple(sentence) if right else ("the", "sea", "is", "very", "blue")
        captions.append(Caption(" ".join(words), confidence, words, (-1.0,) * len(words)))
    numbers = np.zeros((photos, 4), np.int64)
    return Split(Path("none.hdf5"), numbers[..., None], numbers, references), captions


def test_the_probabilities_are_found_again() -> None:
    split, captions = made_up(1600, seed=1)
    found = calibration_of(captions, split)
    assert found.photos == 1600
    for confidence in (0.25, 0.4, 0.6, 0.85):
        truth = 1 / (1 + math.exp(-(SLOPE * math.log(confidence) + INTERCEPT)))
        assert found.probability(confidence) == pytest.approx(truth, abs=0.06)


def test_a_caption_fits_when_it_agrees_as_well_as_most_of_peoples_captions_do() -> None:
    split, _ = made_up(80, seed=1)
    output = [
        ["a", ANIMALS[photo % len(ANIMALS)], "stands", "at", f"place{photo // len(ANIMALS)}", "now"] for photo in range(80)
    ]
    wrong = [["the", "sea", "is", "very", "blue"]] * 80
    target = calibration_of(made_up(80, seed=1)[1], split).target
    assert fits(split, output, target).all()
    assert not fits(split, wrong, target).any()


@pytest.mark.parametrize(
    ("photos", "change", "output"),
    [
        (49, lambda captions: captions, "49 photos are too few"),
        (64, lambda captions: [Caption("x", 0.5, ("x",), (-1.0,))] * 64, "none of the captions fit"),
        (400, lambda captions: [Caption(c.text, 1 - c.confidence, c.words, ()) for c in captions], "fit no better"),
    ],
)
def test_what_tells_nothing_is_refused(photos: int, change: object, output: str) -> None:
    split, captions = made_up(photos, seed=2)
    with pytest.raises(ConfigError, match=output):
        calibration_of(change(captions), split)  # type: ignore[operator]


@pytest.mark.parametrize("captions_each", [0, 1])
def test_photos_with_one_caption_tell_nothing_of_people(captions_each: int) -> None:
    split, captions = made_up(64, seed=2)
    with pytest.raises(ConfigError, match="no photo has two captions"):
        calibration_of(captions, replace(split, references=[each[:captions_each] for each in split.references]))


@pytest.mark.parametrize("confidence", [0.0, 1e-300, 1.0])
def test_every_confidence_has_a_probability(confidence: float) -> None:
    steep = CalibrationCard(slope=1000.0, intercept=-3.0, target=30.0, photos=500)
    assert 0 <= steep.probability(confidence) <= 1


def test_a_calibrated_bundle_has_another_hash_and_says_what_it_is_unsure_of(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    before = open_bundle(str(copy))
    split, captions = made_up(400, seed=3)
    monkeypatch.setattr(module, "caption_split", lambda *_: (captions, 1.0, "onnxruntime"))
    after = calibrate(before, split, CONFIG)
    assert after.hash != before.hash
    assert after.card.calibration is not None

    images = np.stack([draw_image("red", "ball", 1), draw_image("blue", "box", 2)])
    raw = BundleCaptioner(before, load_runtime(before, CONFIG), CONFIG).caption(images)
    for below, uncertain in ((1.0, True), (0.0, False)):
        config = CONFIG.model_copy(update={"uncertain_below": below})
        for old, new in zip(raw, BundleCaptioner(after, load_runtime(after, config), config).caption(images), strict=True):
            assert isinstance(old, Caption)
            assert isinstance(new, Caption)
            assert (old.uncertain, new.uncertain) == (None, uncertain)
            assert new.confidence == after.card.calibration.probability(old.confidence)
            assert new.words == old.words


def test_reliability_compares_what_is_reported_with_what_is_true(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, captions = made_up(1000, seed=4)
    card = calibration_of(captions, split)
    output = [Caption(c.text, card.probability(c.confidence), c.words, c.log_probabilities) for c in captions]
    bundle = open_bundle(str(tiny_bundle))
    with pytest.raises(ConfigError, match="no calibration"):
        reliability(bundle, split, CONFIG)
    monkeypatch.setattr(module, "caption_split", lambda *_: (output, 1.0, "onnxruntime"))
    calibrated = type(bundle)(
        bundle.path, bundle.card.model_copy(update={"calibration": card}), bundle.vocabulary, bundle.hash
    )
    assert reliability(calibrated, split, CONFIG).error < 0.06
    monkeypatch.setattr(module, "caption_split", lambda *_: (captions[::-1], 1.0, "onnxruntime"))
    assert reliability(calibrated, split, CONFIG).error > 0.15
