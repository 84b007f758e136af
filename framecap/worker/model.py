"""The model that a worker works with, and the decoders that make its images: bytes in, images and then captions out.

Both can be changed together while the worker runs, between two batches. What was decoded for the model before, and does not
fit the new one, gets no answer: its frame has to be decoded again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from framecap import telemetry
from framecap.captioning.caption import Caption, Captioner
from framecap.config import WorkerConfig
from framecap.decoding.pool import DecodedFrame, DecoderPool, DecoderSettings
from framecap.worker.batches import Batch
from framecap.worker.jobs import Job
from framecap.worker.resilient_captioner import ResilientCaptioner
from framecap.worker.steady_captions import Scorer, SteadyCaptions, TicketOrder

logger = logging.getLogger(__name__)


class CurrentModel:
    """`decode`, `caption` and `change` may be called from any thread."""

    def __init__(self, captioner: Captioner, config: WorkerConfig) -> None:
        self._config = config
        self.decoders = config.decoders or len(os.sched_getaffinity(0))
        self._pool = DecoderPool(self._settings(captioner), self.decoders)
        self._captioner = ResilientCaptioner(captioner, config.batch_size)
        self._steady = SteadyCaptions(config.steady_captions.margin) if config.steady_captions.enabled else None
        self._ticket_order = TicketOrder()
        self._lock = threading.Lock()
        self._in_use: Counter[ResilientCaptioner] = Counter()  # batches that are being captioned
        self._retired: list[ResilientCaptioner] = []
        self._show(captioner)

    def decode(self, data: bytes) -> DecodedFrame:
        """See `DecoderPool.decode`."""
        return self._pool.decode(data)

    @property
    def limit(self) -> int:
        """Frames that go into a batch at present."""
        return self._captioner.limit

    def caption(self, batch: Batch) -> list[Caption | Exception | None]:
        """An answer for each job, and on it the model that gave it; None where the image was decoded for another one."""
        if self._steady is None:
            with self._captioner_in_use() as captioner:
                return self._answers(batch.jobs, captioner)
        with self._ticket_order.turn(batch.number) as wait, self._captioner_in_use() as captioner:
            answers = self._answers(batch.jobs, captioner)
            wait()
            pairs = zip(batch.jobs, answers, strict=True)
            captioner.settle([(job, caption) for job, caption in pairs if isinstance(caption, Caption)], self._steady)
        return [replace(answer, seen=None) if isinstance(answer, Caption) else answer for answer in answers]

    @staticmethod
    def _answers(batch: Sequence[Job], captioner: ResilientCaptioner) -> list[Caption | Exception | None]:
        answers: list[Caption | Exception | None] = [None] * len(batch)
        slots = [n for n, job in enumerate(batch) if job.image and captioner.takes(job.image)]
        found = captioner.caption([job.image.pixels for n in slots if (job := batch[n]).image])
        for slot, answer in zip(slots, found, strict=True):
            answers[slot] = answer
            batch[slot].model = captioner.model
        return answers

    def change(self, captioner: Captioner) -> None:
        """From the next batch on, this one captions."""
        with self._lock:
            retired, self._captioner = self._captioner, ResilientCaptioner(captioner, self._config.batch_size)
            self._retired.append(retired)
        self._pool.change(self._settings(captioner))
        self._show(captioner)
        self._close_retired()

    @contextmanager
    def _captioner_in_use(self) -> Iterator[ResilientCaptioner]:
        """The captioner of this batch; the next batch may have another one."""
        with self._lock:
            captioner = self._captioner
            self._in_use[captioner] += 1
        try:
            yield captioner
        finally:
            with self._lock:
                self._in_use[captioner] -= 1
            self._close_retired()

    def _close_retired(self) -> None:
        """Close the captioners that were replaced, each when its last batch is done."""
        with self._lock:
            idle = [one for one in self._retired if not self._in_use[one]]
            self._retired = [one for one in self._retired if self._in_use[one]]
            for captioner in idle:
                del self._in_use[captioner]
        for captioner in idle:
            captioner.close()

    def problem(self) -> str | None:
        """See `ResilientCaptioner.problem`."""
        return self._captioner.problem()

    def close(self) -> None:
        self._pool.close()

    def _settings(self, captioner: Captioner) -> DecoderSettings:
        seconds = self._config.decode_timeout_seconds
        return DecoderSettings(captioner.image_size, self._config.max_pixels, seconds, square_resize=captioner.square_input)

    def _show(self, captioner: Captioner) -> None:
        model = captioner.model
        telemetry.model.info({"name": model.name, "bundle": model.bundle_hash, "runtime": model.runtime})
        if self._steady and isinstance(captioner, Scorer):
            captioner.remembers = True
        elif self._steady:
            logger.warning("worker.steady_captions: %s tells no probabilities: there are none", model.runtime)
