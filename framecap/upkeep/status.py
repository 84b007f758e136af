"""A store in, how its frames stand out: pending, or done and how, by camera. Nothing is changed, no frame is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from framecap.frames import camera_of
from framecap.sidecars.status_reader import FOREIGN, TORN, read_statuses
from framecap.stores.base import Entry, Store
from framecap.stores.listing import pairs

STATUSES = ("captioned", "duplicate", "skipped", "failed", TORN, FOREIGN)


@dataclass(slots=True)
class FrameCounts:
    """How some frames stand: `done` have a sidecar, counted by its status where sidecars are read."""

    pending: int = 0
    done: int = 0
    oldest_pending: float | None = None  # Unix seconds
    statuses: Counter[str] = field(default_factory=Counter)

    def wait(self, since: float) -> None:
        self.pending += 1
        self.oldest_pending = since if self.oldest_pending is None else min(since, self.oldest_pending)


@dataclass(slots=True)
class StoreStatus:
    """All frames, those of each camera, and the failed ones by the kind of their error."""

    everything: FrameCounts = field(default_factory=FrameCounts)
    cameras: defaultdict[str, FrameCounts] = field(default_factory=lambda: defaultdict(FrameCounts))
    kinds: Counter[str] = field(default_factory=Counter)


def list_status(store: Store, on_frame: Callable[[], object]) -> StoreStatus:
    """By the listing alone: what is pending and what is done. Raises StoreUnavailable."""
    status = StoreStatus()
    for _ in _done(store, status, on_frame):
        pass
    return status


def read_status(store: Store, on_frame: Callable[[], object]) -> StoreStatus:
    """By the listing and all sidecars: with the statuses of what is done. Raises StoreUnavailable."""
    status = StoreStatus()
    for read in read_statuses(store, _done(store, status, on_frame)):
        for counts in (status.everything, status.cameras[camera_of(read.frame.key)]):
            counts.statuses[read.status] += 1
            counts.done -= read.status == FOREIGN
        if read.kind is not None:
            status.kinds[read.kind] += 1
    return status


def _done(store: Store, status: StoreStatus, on_frame: Callable[[], object]) -> Iterator[Entry]:
    """Count every frame; those that have a sidecar come out."""
    for frame, sidecar in pairs(store.list()):
        on_frame()
        counts_of = (status.everything, status.cameras[camera_of(frame.key)])
        if sidecar is None or sidecar.size == 0:
            for counts in counts_of:
                counts.wait(frame.modified)
            continue
        for counts in counts_of:
            counts.done += 1
        yield frame
