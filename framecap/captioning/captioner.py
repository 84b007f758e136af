"""A bundle in a runtime: images in, captions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from framecap.captioning.beam import BeamSettings, Decoder, Sentence
from framecap.captioning.bundle import Bundle
from framecap.captioning.caption import Caption, ImageBatch, Images, ModelName
from framecap.captioning.log_probabilities import score
from framecap.captioning.repetition import repeatable_numbers
from framecap.captioning.vocabulary import sentence
from framecap.config import CaptioningConfig
from framecap.errors import NonFiniteOutput

Scores = Callable[[Sequence[Sequence[Sequence[str]]]], list[list[float]]]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """A frame's best sentences, and what the runtime keeps of it to look no second time (None: nothing)."""

    sentences: list[Sentence]
    seen: Any = None


class Runtime(Protocol):
    """What executes a bundle; `lanes` and `batch_size` as those of `caption.Captioner`."""

    name: str
    lanes: int
    batch_size: int

    def encode(self, images: Images, seen: Sequence[Any] = ()) -> Decoder:
        """Everything that is done once a frame, for the images (n, size, size, 3) uint8 RGB.

        `seen`: what the descriptions of these very images have kept, so that less has to be done.
        """
        ...

    def describe(self, images: Images, end: int, settings: BeamSettings) -> list[FrameResult | None]:
        """Look, and search each frame's best sentences; None where the model gave NaN."""
        ...


class BundleCaptioner:
    """See `caption.Captioner`."""

    square_input = True

    def __init__(self, bundle: Bundle, runtime: Runtime, config: CaptioningConfig) -> None:
        self.bundle, self.runtime, self.config = bundle, runtime, config
        self.remembers = False
        self.settings = BeamSettings(
            beam=config.beam,
            max_words=config.max_words,
            length_penalty=config.length_penalty,
            block_ngrams=config.block_ngrams,
            sentences=1 + config.alternatives,
            repeatable=repeatable_numbers(bundle.vocabulary) if config.block_repeats else None,
        )

    @property
    def model(self) -> ModelName:
        return ModelName(self.bundle.card.name, self.bundle.hash, self.runtime.name)

    @property
    def image_size(self) -> int:
        return self.bundle.card.preprocessing.size

    @property
    def lanes(self) -> int:
        return self.runtime.lanes

    @property
    def batch_size(self) -> int:
        return self.runtime.batch_size

    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        """See `caption.Captioner`."""
        found = self.runtime.describe(np.asarray(images), self.bundle.vocabulary.end, self.settings)
        return [
            self._caption(one) if one and one.sentences else NonFiniteOutput("the model gave NaN for this image")
            for one in found
        ]

    def encode(self, images: Sequence[Images], captions: Sequence[Caption]) -> Scores:
        """See `worker.steady.Scorer`."""
        decoder = self.runtime.encode(np.asarray(images), [caption.seen for caption in captions])

        def scores(sentences: Sequence[Sequence[Sequence[str]]]) -> list[list[float]]:
            number, end = self.bundle.vocabulary.number, self.bundle.vocabulary.end
            return score(decoder, [[[number(word) for word in words] for words in several] for several in sentences], end)

        return scores

    def _caption(self, described: FrameResult) -> Caption:
        best, *others = described.sentences
        confidence = self._confidence(best)
        return Caption(
            text=self._text(best),
            confidence=confidence,
            words=tuple(self.bundle.vocabulary.decode(best.words)),
            log_probabilities=best.log_probabilities,
            truncated=best.truncated,
            uncertain=confidence < self.config.uncertain_below if self.bundle.card.calibration else None,
            alternatives=tuple((self._text(other), self._confidence(other)) for other in others),
            attention=None if best.attention is None else best.attention.reshape(-1, *self.bundle.card.places),
            seen=described.seen if self.remembers else None,
        )

    def _confidence(self, found: Sentence) -> float:
        calibration = self.bundle.card.calibration
        return calibration.probability(found.confidence) if calibration else found.confidence

    def _text(self, found: Sentence) -> str:
        words = self.bundle.vocabulary.decode(found.words)
        return sentence(words, self.config.capitalise, self.config.full_stop and not found.truncated)
