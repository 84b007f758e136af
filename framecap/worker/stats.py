"""The tally: committed sidecars in; counts, metrics and whoever wants to hear of each one out."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from framecap import telemetry
from framecap.sidecars.sidecar import Sidecar

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkSummary:
    """How many sidecars were committed, by status; how many were there already; how long it took."""

    captioned: int
    duplicate: int
    skipped: int
    failed: int
    already_there: int
    seconds: float


class WorkerStats:
    """Safe to use from several threads; `on_commit` is called by one at a time."""

    def __init__(self, on_commit: Callable[[Sidecar], None] | None) -> None:
        self._on_commit = on_commit
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def committed(self, made: Sidecar) -> None:
        telemetry.frames_committed.labels(made.status).inc()
        telemetry.last_commit.set_to_current_time()
        with self._lock:
            self._counts[made.status] += 1
            if self._on_commit is None:
                return
            try:
                self._on_commit(made)
            except Exception:
                logger.exception("%s: committed, but whoever wanted to hear of it failed", made.frame.key)

    def not_replaced(self) -> None:
        """A frame failed that has a caption, which stays."""
        with self._lock:
            self._counts["failed"] += 1

    def already_there(self) -> None:
        with self._lock:
            self._counts["already_there"] += 1

    def summary(self, seconds: float) -> WorkSummary:
        with self._lock:
            counts = self._counts
            return WorkSummary(
                counts["captioned"],
                counts["duplicate"],
                counts["skipped"],
                counts["failed"],
                counts["already_there"],
                seconds,
            )
