"""Two models and a golden set in; what each says of its images, how good and how fast that is, and a verdict, out.

A golden set is a folder of images. Beside an image `a.jpg` may stand `a.jpg.txt`: what people would say of it, one
caption a line. With references the captions are scored; without, only what the models think of themselves is known.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from framecap.captioning.caption import Caption, Captioner
from framecap.config import WorkerConfig
from framecap.decoding.pool import DecodedFrame, DecoderPool, DecoderSettings
from framecap.errors import ConfigError, FramecapError
from framecap.frames import is_frame_key
from framecap.scoring.bleu import bleu, counts
from framecap.scoring.cider import CiderD
from framecap.worker.resilient_captioner import ResilientCaptioner

FEWEST_IMAGES = 10  # with fewer nothing can be said of how rare a word is, nor of chance
_PUBLISHED = 100  # CIDEr-D is published as so many times the formula's value
_SAMPLES = 1000  # of a bootstrap
_MAX_REFERENCES_BYTES = 1 << 16
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldenFrame:
    """An image of the set, by its path below the folder, and its references as words."""

    name: str
    path: Path
    references: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the new model must reach: so many points of CIDEr-D more (of confidence x 100 without references), and so much
    of the old one's speed."""

    gain: float = 0.0
    speed: float = 0.5


@dataclass(slots=True)
class ModelResult:
    """One of the two models: what it said of each image, and the seconds that took."""

    name: str
    hash: str
    answers: list[Caption | Exception] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        return sum(isinstance(answer, Exception) for answer in self.answers)

    @property
    def images_per_second(self) -> float:
        return len(self.answers) / self.seconds

    @property
    def captions(self) -> list[Caption]:
        return [answer for answer in self.answers if isinstance(answer, Caption)]

    @property
    def confidence(self) -> float | None:
        """The mean; None where a caption has none."""
        found = [caption.confidence for caption in self.captions if caption.confidence is not None]
        return float(np.mean(found)) if found and len(found) == len(self.captions) else None

    @property
    def uncertain(self) -> float | None:
        """The part of the captions that are; None where the model is not calibrated."""
        found = [caption.uncertain for caption in self.captions if caption.uncertain is not None]
        return float(np.mean(found)) if found and len(found) == len(self.captions) else None


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """CIDEr-D of each image, as published; BLEU-4 of all, 0 to 1. An image without a caption has no words."""

    cider_d: list[float]
    bleu_4: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problems` says why the new model does not pass; `gain` is in points of CIDEr-D, with its 95% interval, or None."""

    problems: tuple[str, ...]
    old: ScoredFrame | None
    new: ScoredFrame | None
    gain: float | None
    interval: tuple[float, float] | None


def golden_set(folder: Path) -> list[GoldenFrame]:
    """The images of the folder, in the order of their names. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"--golden: {folder}: no such folder: give one that holds images")
    paths = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and is_frame_key(path.relative_to(folder).as_posix())
    ]
    if len(paths) < FEWEST_IMAGES:
        raise ConfigError(f"--golden: {folder}: {len(paths)} images are too few to judge by: {FEWEST_IMAGES} at least")
    found = [GoldenFrame(path.relative_to(folder).as_posix(), path, _references(path)) for path in paths]
    without = [golden.name for golden in found if not golden.references]
    if without and len(without) < len(found):
        raise ConfigError(
            f"--golden: {folder}: {len(without)} of {len(found)} images have no references, first of all {without[0]}: "
            f"write captions into {without[0]}.txt, one a line, or give none any"
        )
    return found


def compare(
    golden: Sequence[GoldenFrame], old: Captioner, new: Captioner, config: WorkerConfig, on_image: Callable[[int], object]
) -> tuple[ModelResult, ModelResult]:
    """Caption the set with both, batch by batch in turns, so that what else the machine does is the same for both.

    `on_image` hears of how many more are done.
    """
    config = config.filled_in(old.batch_size, old.lanes)
    sides = tuple(ModelResult(captioner.model.name, captioner.model.bundle_hash) for captioner in (old, new))
    lookers = [_ModelRunner(captioner, config) for captioner in (old, new)]
    try:
        for start in range(0, len(golden), config.batch_size):
            batch = golden[start : start + config.batch_size]
            data = [_read(one.path, config.max_bytes) for one in batch]
            for side, looker in zip(sides, lookers, strict=True):
                answers, seconds = looker.caption(data)
                side.answers += answers
                side.seconds += seconds
            on_image(len(batch))
    finally:
        for looker in lookers:
            looker.close()
    return sides[0], sides[1]


def judge(golden: Sequence[GoldenFrame], old: ModelResult, new: ModelResult, thresholds: Thresholds) -> Verdict:
    """Whether the new model may take the old one's place."""
    problems = []
    if new.failed > old.failed:
        problems.append(f"it fails on {new.failed} images, the old one on {old.failed}")
    speed = new.images_per_second / old.images_per_second
    if speed < thresholds.speed:
        problems.append(f"it has {speed:.2f} of the old one's speed, less than {thresholds.speed:g}")
    if not golden[0].references:
        return Verdict((*problems, *_by_confidence(old, new, thresholds)), None, None, None, None)
    before, after = _scored(golden, old), _scored(golden, new)
    gains = np.subtract(after.cider_d, before.cider_d)
    gain = float(gains.mean())
    if gain < thresholds.gain:
        problems.append(f"CIDEr-D changes by {gain:+.2f}, less than {thresholds.gain:+g}")
    drawn = np.random.default_rng(1).integers(0, len(gains), (_SAMPLES, len(gains)))
    low, high = np.percentile(gains[drawn].mean(axis=1), (2.5, 97.5))
    return Verdict(tuple(problems), before, after, gain, (float(low), float(high)))


def words_of(text: str) -> Words:
    """Lower case, no punctuation, as scores compare captions."""
    return tuple(_WORD.findall(text.lower()))


def _by_confidence(old: ModelResult, new: ModelResult, thresholds: Thresholds) -> list[str]:
    """What speaks against the new model where there are no references: only calibrated confidences can be compared."""
    if old.uncertain is None or new.uncertain is None or old.confidence is None or new.confidence is None:
        return ["nobody can tell: the images have no references, and not both models are calibrated"]
    gain = 100 * (new.confidence - old.confidence)
    if gain < thresholds.gain:
        return [f"its mean confidence changes by {gain / 100:+.3f}, less than {thresholds.gain / 100:+g}"]
    return []


def _scored(golden: Sequence[GoldenFrame], side: ModelResult) -> ScoredFrame:
    cider = CiderD([one.references for one in golden])
    output = [words_of(answer.text) if isinstance(answer, Caption) else () for answer in side.answers]
    cider_d = [_PUBLISHED * cider.score(photo, [words])[0] for photo, words in enumerate(output)]
    sums = np.sum([counts(words, one.references) for words, one in zip(output, golden, strict=True)], axis=0)
    return ScoredFrame(cider_d, float(bleu(sums[np.newaxis].astype(np.float64))[3][0]))


def _references(path: Path) -> tuple[Words, ...]:
    file = path.with_name(f"{path.name}.txt")
    try:
        if not file.is_file():
            return ()
        if file.stat().st_size > _MAX_REFERENCES_BYTES:
            raise ConfigError(f"{file}: more than {_MAX_REFERENCES_BYTES} bytes are no captions")
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    return tuple(words for line in lines if (words := words_of(line)))


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


class _ModelRunner:
    """A captioner and decoders that make its images."""

    def __init__(self, captioner: Captioner, config: WorkerConfig) -> None:
        settings = DecoderSettings(
            captioner.image_size, config.max_pixels, config.decode_timeout_seconds, square_resize=captioner.square_input
        )
        self._pool = DecoderPool(settings, 1)
        self._captioner = ResilientCaptioner(captioner, config.batch_size)
        size = captioner.image_size
        captioner.caption(np.full((1, size, size, 3), 127, np.uint8))  # the first image takes longest

    def caption(self, images: Sequence[bytes]) -> tuple[list[Caption | Exception], float]:
        """An answer for each, and the seconds that the captioner took."""
        decoded = [self._decode(image) for image in images]
        pixels = [one.pixels for one in decoded if isinstance(one, DecodedFrame)]
        started = time.perf_counter()
        captions = iter(self._captioner.caption(pixels))
        seconds = time.perf_counter() - started
        return [next(captions) if isinstance(one, DecodedFrame) else one for one in decoded], seconds

    def close(self) -> None:
        self._pool.close()

    def _decode(self, data: bytes) -> DecodedFrame | Exception:
        try:
            return self._pool.decode(data)
        except FramecapError as error:
            return error
