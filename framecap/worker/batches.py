"""Batches across cameras: decoded frames in, batches out, each as soon as it is full or waiting longer would not pay."""

from __future__ import annotations

import queue
import threading
import time

from framecap.worker.jobs import InFlight, Job


class Batches:
    """Any number of threads put and take; one batch is filled at a time."""

    def __init__(self, wait_seconds: float, in_flight: InFlight) -> None:
        self._wait_seconds = wait_seconds
        self._in_flight = in_flight
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._taking = threading.Lock()
        self._ended = False

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def end(self) -> None:
        """After what was put before, `take` gives None."""
        self._queue.put(None)

    def take(self, limit: int) -> list[Job] | None:
        """Up to `limit` jobs, one at least; None after the end.

        Waits for the first one; for more only up to the deadline, and only while any are on their way.
        """
        with self._taking:
            return self._take(limit)

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
