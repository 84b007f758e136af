"""What a captioner gives: a Caption with its confidence, its words' log-probabilities and its alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # (n, size, size, 3), RGB, made by preprocess


@dataclass(frozen=True, slots=True)
class Caption:
    """One frame's caption.

    `words` and `log_probabilities` (natural logarithm) belong together, the sentence's end not among them; `confidence` is
    the probability that the caption fits (see bundle.CalibrationCard), or, of a bundle without a calibration, the raw
    confidence: exp(mean log-probability), the end included. `uncertain`: the probability is below
    captioning.uncertain_below; None where there is none. `attention` has shape (words, rows, columns) and sums to 1 over
    a word's map, or is None where the decoder gives none.
    """

    text: str
    confidence: float
    words: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    truncated: bool = False
    uncertain: bool | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    attention: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelName:
    """What stands in every sidecar: the bundle's name and hash, and the runtime that executes it."""

    name: str
    bundle_hash: str
    runtime: str


class Captioner(Protocol):
    """A bundle and a runtime. A frame's caption does not depend on the batch it is in."""

    @property
    def model(self) -> ModelName: ...

    @property
    def image_size(self) -> int:
        """Side of the square pictures it takes, in pixels."""
        ...

    def caption(self, images: Images) -> Sequence[Caption | Exception]:
        """One caption per image; a frame that the model cannot caption (NonFiniteOutput) is an exception in its place.

        Raises DeviceMemoryError when the batch is too large for the device.
        """
        ...
