"""Batches across cameras: decoded frames in, batches out, each as soon as it is full or waiting longer would not pay."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass

from framecap.worker.jobs import InFlight, Job


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that are captioned together; `number` counts the batches of a worker from 0, in the order of their frames."""

    number: int
    jobs: tuple[Job, ...]


class Batches:
    """Any number of threads put and take; one batch is filled at a time, and batches are numbered in that order."""

    def __init__(self, wait_seconds: float, in_flight: InFlight) -> None:
        self._wait_seconds = wait_seconds
        self._in_flight = in_flight
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._taking = threading.Lock()
        self._ended = False
        self._taken = 0

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def end(self) -> None:
        """After what was put before, `take` gives None."""
        self._queue.put(None)

    def take(self, limit: int) -> Batch | None:
        """Up to `limit` jobs, one at least; None after the end.

        Waits for the first one; for more only up to the deadline, and only while any are on their way.
        """
        with self._taking:
            jobs = self._take(limit)
            if jobs is None:
                return None
            self._taken += 1
            return Batch(self._taken - 1, tuple(jobs))

    def _take(self, limit: int) -> list[Job] | None:
        job = None if self._ended else self._queue.get()
        deadline = time.monotonic() + self._wait_seconds
        batch: list[Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) >= limit:
                return batch
            try:
                patient = self._in_flight.ahead > 0
                job = self._queue.get(patient, max(deadline - time.monotonic(), 0.0) if patient else None)
            except queue.Empty:
                return batch
        self._ended = True
        return batch or None
