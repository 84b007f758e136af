"""What a captioner gives: a Caption with its confidence, its words' log-probabilities and its alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # (n, size, size, 3), RGB, made by preprocess
ImageBatch = Images | Sequence[Images]  # or one (height, width, 3) after the other, where they keep their proportions


@dataclass(frozen=True, slots=True)
class Caption:
    """One frame's caption.

    `words` and `log_probabilities` (natural logarithm) belong together, the sentence's end not among them; `confidence` is
    the probability that the caption fits (see bundle.CalibrationCard), or, without a calibration, the raw confidence:
    exp(mean log-probability), the end included; None where the captioner gives no probabilities. `uncertain`: the
    probability is below captioning.uncertain_below; None where there is none. `attention` has shape (words, rows,
    columns) and sums to 1 over a word's map, or is None where the decoder gives none. `seen`: what the model made of the
    image, for it to score other words without looking again; None where it keeps nothing.
    """

    text: str
    confidence: float | None
    words: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    truncated: bool = False
    uncertain: bool | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    attention: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    seen: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelName:
    """What stands in every sidecar: the model's name, the hash that stands for it, and what executes it."""

    name: str
    bundle_hash: str
    runtime: str


class Captioner(Protocol):
    """A model and what executes it. A frame's caption does not depend on the batch it is in."""

    @property
    def model(self) -> ModelName: ...

    @property
    def image_size(self) -> int:
        """Longest side of the images it takes, in pixels."""
        ...

    @property
    def square_input(self) -> bool:
        """Whether they are squares of that size; else they keep their proportions, and small ones their size."""
        ...

    @property
    def lanes(self) -> int:
        """How many batches it can work on at the same time, each for a thread of its own."""
        ...

    @property
    def batch_size(self) -> int:
        """How many frames it had best get at once."""
        ...

    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        """One caption per image; a frame that cannot be captioned is an exception (a ModelError) in its place.

        Raises DeviceMemoryError when the batch is too large for the device.
        """
        ...


@runtime_checkable
class Closable(Protocol):
    """A captioner that holds connections or threads."""

    def close(self) -> None: ...


def close_captioner(captioner: Captioner) -> None:
    """End what a captioner holds, if it holds anything; it captions no more."""
    if isinstance(captioner, Closable):
        captioner.close()
