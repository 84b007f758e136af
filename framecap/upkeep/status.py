"""A store in, how its frames stand out: pending, or done and how, by camera. Nothing is changed, no frame is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from framecap.frames import camera_of
from framecap.ingest.scan import pairs
from framecap.stores.base import Entry, Store
from framecap.upkeep.reading import FOREIGN, TORN, read_sidecars

STATUSES = ("captioned", "duplicate", "skipped", "failed", TORN, FOREIGN)


@dataclass(slots=True)
class Standing:
    """How some frames stand: `done` have a sidecar, counted by its status where sidecars are read."""

    pending: int = 0
    done: int = 0
    oldest_pending: float | None = None  # Unix seconds
    statuses: Counter[str] = field(default_factory=Counter)

    def wait(self, since: float) -> None:
        self.pending += 1
        self.oldest_pending = since if self.oldest_pending is None else min(since, self.oldest_pending)


@dataclass(slots=True)
class Status:
    """All frames, those of each camera, and the failed ones by the kind of their error."""

    everything: Standing = field(default_factory=Standing)
    cameras: defaultdict[str, Standing] = field(default_factory=lambda: defaultdict(Standing))
    kinds: Counter[str] = field(default_factory=Counter)


def list_status(store: Store, on_frame: Callable[[], object]) -> Status:
    """By the listing alone: what is pending and what is done. Raises StoreUnavailable."""
    status = Status()
    for _ in _done(store, status, on_frame):
        pass
    return status


def read_status(store: Store, on_frame: Callable[[], object]) -> Status:
    """By the listing and all sidecars: with the statuses of what is done. Raises StoreUnavailable."""
    status = Status()
    for read in read_sidecars(store, _done(store, status, on_frame)):
        for standing in (status.everything, status.cameras[camera_of(read.frame.key)]):
            standing.statuses[read.status] += 1
            standing.done -= read.status == FOREIGN
        if read.kind is not None:
            status.kinds[read.kind] += 1
    return status


def _done(store: Store, status: Status, on_frame: Callable[[], object]) -> Iterator[Entry]:
    """Count every frame; those that have a sidecar come out."""
    for frame, sidecar in pairs(store.list()):
        on_frame()
        standings = (status.everything, status.cameras[camera_of(frame.key)])
        if sidecar is None or sidecar.size == 0:
            for standing in standings:
                standing.wait(frame.modified)
            continue
        for standing in standings:
            standing.done += 1
        yield frame
