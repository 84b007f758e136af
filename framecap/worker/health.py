"""How a worker is seen from outside: its pulses and troubles in; health and the age of the oldest pending frame out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from framecap.ingest.base import Ingest
from framecap.telemetry import Heartbeat, health, oldest_pending_seconds
from framecap.telemetry.checks import Check

_LEASING_HANGS_SECONDS = 30.0  # it poll several times a second
_CAPTIONING_HANGS_SECONDS = 600.0  # over one batch: a large model on few cores takes its time


class WorkerHealth:
    """`leasing` beats all the time, each of `captioning` (one a lane) at the start of a batch, and rests after it."""

    def __init__(self, ingest: Ingest, errors: Sequence[Check], lanes: int) -> None:
        self.leasing = Heartbeat("leasing", _LEASING_HANGS_SECONDS)
        self.captioning = [Heartbeat(f"captioning {lane}", _CAPTIONING_HANGS_SECONDS) for lane in range(lanes)]
        self._ingest = ingest
        self._errors = errors

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Within, the worker is at work."""
        self.leasing.beat()
        oldest_pending_seconds.set_function(self._oldest_pending)
        try:
            with health.watching([heartbeat.problem for heartbeat in (self.leasing, *self.captioning)], self._errors):
                yield
        finally:
            oldest_pending_seconds.set_function(float)

    def _oldest_pending(self) -> float:
        oldest = self._ingest.backlog().oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)
