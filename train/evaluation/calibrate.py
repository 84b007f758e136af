"""A bundle and photos that it was not trained on in; what its confidences are worth, onto its card, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from framecap.captioning.bundle import Bundle, CalibrationCard, open_bundle
from framecap.captioning.caption import Caption
from framecap.config import CaptioningConfig
from framecap.errors import ConfigError
from framecap.scoring.cider import CiderD
from train.data.dataset import Split
from train.evaluation.evaluate import caption_split
from train.export.bundle import write_card

Numbers = npt.NDArray[np.float64]
Fitting = npt.NDArray[np.bool_]

FEWEST = 50  # photos: with fewer the two numbers would be guesses
REACHED_BY = 0.75  # part of people's captions that a fitting one is as good as or better than the rest of
_PUBLISHED = 100  # CIDEr-D is published as so many times the formula's value
_STEPS = 100  # of L-BFGS, which needs about ten
_BINS = 5


@dataclass(frozen=True)
class Reliability:
    """Of captions in order of their confidence, cut into equal parts: the mean confidence and the share that fits."""

    confidence: list[float]
    fitting: list[float]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of the two, 0 to 1."""
        return float(np.mean(np.abs(np.subtract(self.confidence, self.fitting))))


def calibrate(bundle: Bundle, split: Split, config: CaptioningConfig) -> Bundle:
    """Fit the calibration and put it on the card, which changes the bundle's hash: its sidecars will say other things.

    Raises ConfigError, see `calibration_of`.
    """
    _need_enough(split)
    raw = replace(bundle, card=bundle.card.model_copy(update={"calibration": None}))
    captions, *_ = caption_split(raw, split, config)
    card = bundle.card.model_copy(update={"calibration": calibration_of(captions, split)})
    write_card(bundle.path, card)
    return open_bundle(str(bundle.path))


def calibration_of(captions: Sequence[Caption], split: Split) -> CalibrationCard:
    """What the raw confidences of these captions of the split's photos are worth.

    Raises ConfigError for fewer than 50 photos, where all captions fit or none does, and where confidence tells nothing.
    """
    _need_enough(split)
    target = round(float(np.quantile(_of_people(split), 1 - REACHED_BY)), 2)
    fitting = fits(split, [caption.words for caption in captions], target)
    if fitting.all() or not fitting.any():
        raise ConfigError(
            "all of the captions fit: these photos tell nothing of confidence: take more"
            if fitting.all()
            else "none of the captions fit: these photos tell nothing of confidence: train the model longer first, or take "
            "photos of the kind that it has learned from"
        )
    slope, intercept = _logistic(np.log([max(caption.confidence or 0.0, 1e-30) for caption in captions]), fitting)
    if slope <= 0:
        raise ConfigError("captions of more confidence fit no better on this split: is it of the model's kind of photos?")
    return CalibrationCard(slope=slope, intercept=intercept, target=target, photos=len(split))


def reliability(bundle: Bundle, split: Split, config: CaptioningConfig) -> Reliability:
    """How far a calibrated bundle's confidences hold on other photos."""
    if bundle.card.calibration is None:
        raise ConfigError(f"{bundle.path}: it has no calibration: python -m train calibrate")
    captions, *_ = caption_split(bundle, split, config)
    fitting = fits(split, [caption.words for caption in captions], bundle.card.calibration.target)
    confidence = np.array([caption.confidence or 0.0 for caption in captions])
    parts = np.array_split(np.argsort(confidence), _BINS)
    return Reliability(
        [round(float(confidence[part].mean()), 3) for part in parts],
        [round(float(fitting[part].mean()), 3) for part in parts],
    )


def fits(split: Split, captions: Sequence[Sequence[str]], target: float) -> Fitting:
    """Which captions reach `target` CIDEr-D (as it is published, a hundred times the formula's value) on their own."""
    cider = CiderD(split.references)
    return np.array([_PUBLISHED * cider.score(photo, [words])[0] >= target for photo, words in enumerate(captions)])


def _of_people(split: Split) -> list[float]:
    """CIDEr-D of each reference, compared with the others of its photo."""
    found: list[float] = []
    for number in range(max(map(len, split.references))):
        photos = [references for references in split.references if number < len(references) > 1]
        if not photos:
            continue
        others = CiderD([references[:number] + references[number + 1 :] for references in photos])
        found += [_PUBLISHED * others.score(photo, [references[number]])[0] for photo, references in enumerate(photos)]
    if not found:
        raise ConfigError("no photo has two captions: without them nobody can say which captions fit")
    return found


def _need_enough(split: Split) -> None:
    if len(split) < FEWEST:
        raise ConfigError(f"{len(split)} photos are too few to calibrate by: give {FEWEST} or more")


def _logistic(confidence: Numbers, fitting: Fitting) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of `fitting` on the confidences' logarithms."""
    seen, wanted = torch.from_numpy(confidence), torch.from_numpy(fitting).double()
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(line[0] * seen + line[1], wanted)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope, intercept = line.tolist()
    return slope, intercept
