"""A bundle in its runtime and decoded images in; the encoder's and the captioner's speed, and their captions, out."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from framecap.bench.arithmetic import encoder_operations
from framecap.captioning.bundle import Bundle, open_bundle
from framecap.captioning.caption import Caption, Images
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.lanes import in_every_lane
from framecap.captioning.load import load_runtime
from framecap.config import CaptioningConfig, Config
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import ConfigError

_BATCHES_A_LANE = 20  # where there are several: fewer would measure how they begin and end


@dataclass(frozen=True, slots=True)
class Speed:
    """Frames a second and CPU-milliseconds a frame."""

    frames: float
    cpu_ms: float


class MeasuredCaptioner:
    """The captioner that the configuration asks for, and images for it; the encoder can be asked alone."""

    def __init__(self, config: Config, image_files: Sequence[Path]) -> None:
        if config.captioning.runtime == "null":
            raise ConfigError("captioning.runtime: null has no model to measure: name another")
        if config.captioning.kind != "bundle":
            raise ConfigError(f"captioning.kind: bench measures bundles, not {config.captioning.kind}: set it to bundle")
        self.config = config
        self.bundle: Bundle = open_bundle(config.captioning.bundle)
        self.runtime = load_runtime(self.bundle, config.captioning)
        self.batch_size = config.worker.filled_in(self.runtime.batch_size, self.runtime.lanes).batch_size
        size = Preprocessing(self.bundle.card.preprocessing.size)
        limit = config.worker.max_pixels
        self.images: Images = np.stack([decode(path.read_bytes(), size, limit).pixels for path in image_files])

    @property
    def on_gpu(self) -> bool:
        return self.runtime.name.startswith("torch") and _cuda()

    @property
    def rounds(self) -> int:
        """How often a run must show the images so that each of several lanes gets its batches; 1 for one lane."""
        lanes = self.runtime.lanes
        return 1 if lanes == 1 else math.ceil(_BATCHES_A_LANE * lanes * self.batch_size / len(self.images))

    def operations(self) -> float:
        """Of the encoder, for one image."""
        return encoder_operations(self.bundle, self.runtime.name)

    def encoder(self) -> Speed:
        """All that is done once a frame: encoder, the features' projection, the first state. A GPU is full with one lane."""
        work = self.runtime.encode
        return self._timed(work, 1.0) if self.on_gpu or self.runtime.lanes == 1 else self._timed_in_lanes(work)

    def captioner(self, beam: int | None = None, part: float = 1.0) -> Speed:
        """Encoder and search in the worker's batches: with one lane this part of the images, with more see below."""
        work = self._captioner(beam).caption
        return self._timed(work, part) if self.runtime.lanes == 1 else self._timed_in_lanes(work)

    def captions(self, count: int) -> list[str | None]:
        """Of the first `count` images; None where the model gave none."""
        captioner = self._captioner(None)
        return [
            one.text if isinstance(one, Caption) else None
            for images in self._batches(self.images[:count])
            for one in captioner.caption(images)
        ]

    def _captioner(self, beam: int | None) -> BundleCaptioner:
        config: CaptioningConfig = self.config.captioning
        if beam is not None:
            config = config.model_copy(update={"beam": beam})
        return BundleCaptioner(self.bundle, self.runtime, config)

    def _batches(self, images: Images) -> Iterator[Images]:
        return (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))

    def _timed(self, work: Callable[[Images], object], part: float) -> Speed:
        image_files = self.images[: max(1, round(part * len(self.images)))]
        work(image_files[: self.batch_size])
        _finish()
        started, cpu = time.perf_counter(), time.process_time()
        for images in self._batches(image_files):
            work(images)
        _finish()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        return Speed(len(image_files) / seconds, 1000 * cpu_seconds / len(image_files))

    def _timed_in_lanes(self, work: Callable[[Images], object]) -> Speed:
        """As the worker works: in as many threads as there are lanes, full batches of all images in turn."""
        lanes, size = self.runtime.lanes, self.batch_size
        images = np.resize(self.images, (max(size, len(self.images)), *self.images.shape[1:]))
        different = [images[start : start + size] for start in range(0, len(images) - size + 1, size)]
        batches = list(islice(cycle(different), _BATCHES_A_LANE * lanes))
        in_every_lane(lanes, lambda: work(batches[0]))
        _finish()
        started, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(lanes) as threads:
            for _ in threads.map(work, batches):
                pass
        _finish()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        return Speed(len(batches) * size / seconds, 1000 * cpu_seconds / (len(batches) * size))


def _cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def _finish() -> None:
    """Until a GPU has done what it was given."""
    if _cuda():
        sys.modules["torch"].cuda.synchronize()
