"""What happened to one camera's frames: events in, a CameraSummary (and the metrics) out."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from framecap import telemetry
from framecap.errors import FramecapError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """One camera's run. `source` is without credentials; `problem` is what was wrong with it at the end, if anything.

    `dropped` counts by reason: `drop_oldest` and `drop_newest` (the queue, and the spool where there is one, was full),
    `undecodable`, `stale` (images that had waited in the camera's or network's buffers: nobody knows their time),
    `store_unavailable` (away when capture stopped), `store_refused`, `key_taken` (the store has another image under the
    key that this frame of a recording has), `spool_damaged` (the disk gave back something else than was put there).
    `spooled` frames are neither stored nor dropped: they wait in the spool for the next run. `unfinished`: capture was told
    to stop before the end of this recording.
    """

    camera: str
    source: str
    captured: int
    already_there: int
    dropped: Mapping[str, int]
    spooled: int
    unfinished: bool
    reconnects: int
    frozen: int
    problem: FramecapError | None

    @property
    def lost(self) -> int:
        """Frames that were wanted and are not in the store."""
        return sum(
            self.dropped.get(reason, 0)
            for reason in ("undecodable", "store_unavailable", "store_refused", "key_taken", "spool_damaged")
        )


class CaptureStats:
    """Counts for one camera, from several threads."""

    def __init__(self, camera: str, source: str) -> None:
        self.camera = camera
        self._source = source
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._spooled = 0
        self._unfinished = False
        self._problem: FramecapError | None = None

    def captured(self) -> None:
        telemetry.frames_captured.labels(self.camera).inc()
        self._count("captured")

    def already_there(self) -> None:
        self._count("already_there")

    def dropped(self, reason: str, count: int = 1) -> bool:
        """Count dropped frames; whether these are the first of that reason."""
        telemetry.frames_dropped.labels(self.camera, reason).inc(count)
        with self._lock:
            self._dropped[reason] += count
            return self._dropped[reason] == count

    def drop(self, reason: str, count: int) -> None:
        """Count dropped frames, and say once that there are such."""
        if self.dropped(reason, count):  # stale ones are usual: a stream begins with what its server has kept
            level = logging.INFO if reason == "stale" else logging.WARNING
            logger.log(level, "camera %s: frames are dropped (%s), the summary will say how many", self.camera, reason)

    def spooled(self, count: int) -> None:
        """So many frames wait in the spool at the end."""
        with self._lock:
            self._spooled = count

    def unfinished(self) -> None:
        """The recording has more frames, and capture was told to stop."""
        with self._lock:
            self._unfinished = True

    def reconnected(self) -> None:
        telemetry.source_reconnects.labels(self.camera).inc()
        self._count("reconnects")

    def frozen(self) -> None:
        telemetry.source_freezes.labels(self.camera).inc()
        self._count("frozen")

    def problem(self, problem: FramecapError | None) -> None:
        with self._lock:
            self._problem = problem

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def summary(self) -> CameraSummary:
        with self._lock:
            return CameraSummary(
                camera=self.camera,
                source=self._source,
                captured=self._counts["captured"],
                already_there=self._counts["already_there"],
                dropped=dict(self._dropped),
                spooled=self._spooled,
                unfinished=self._unfinished,
                reconnects=self._counts["reconnects"],
                frozen=self._counts["frozen"],
                problem=self._problem,
            )
