"""A store and its index's rows in; the rows as the store's sidecars are, out: only what is new or changed is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from operator import attrgetter

from framecap.config import IngestConfig
from framecap.sidecars.reader import SidecarReader, sidecars
from framecap.stores.base import Entry, Store
from framecap.stores.listing import Listing, Watermarks
from framecap.timeline.search.rows import Rows

_AT_ONCE = 500  # sidecars written in one transaction
_FULL_SHARE = 0.01  # of the time, at most, is spent on listing everything


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did: sidecars read (new and replaced ones) and removed; whether everything was looked at. `busy`:
    nothing was done, for another process is at it."""

    read: int = 0
    removed: int = 0
    full: bool = False
    busy: bool = False


class Updater:
    """Updates again and again; remembers where its cameras stood."""

    def __init__(self, store: Store, config: IngestConfig) -> None:
        self._store = store
        self._config = config
        self._reader = SidecarReader(store)
        self._listing: Listing | None = None

    def run(self, rows: Rows, full: bool, on_read: Callable[[], object]) -> Updated:
        """One update. What is replaced or deleted far behind its camera's newest frame is noticed by a full one: when it is
        wanted, or due. Raises StoreUnavailable; what was done until then stays."""
        began, started = time.time(), time.monotonic()
        full = full or self._full_is_due(rows, began)
        listing = self._listed(rows)
        gone: list[str] = []
        changed = _compared(listing, rows, gone) if full else _news(listing, rows)
        found = self._reader.read(changed)
        read = removed = 0
        while some := list(islice(found, _AT_ONCE)):
            with rows.transaction():
                for each in sorted(some, key=attrgetter("sort_key")):  # the full-text table takes rising ids best
                    rows.put(each)
                    on_read()
            read += len(some)
        for start in range(0, len(gone), _AT_ONCE):
            with rows.transaction():
                rows.remove(gone[start : start + _AT_ONCE])
        removed = len(gone)
        with rows.transaction():
            rows.remember("marks", [listing.seen.newest, sorted(listing.seen.foreign)])
            if full:
                rows.remember("full", [began, time.monotonic() - started])
        return Updated(read, removed, full)

    def _full_is_due(self, rows: Rows, now: float) -> bool:
        last = rows.state("full")
        if last is None:
            return True
        began, took = last
        return not began <= now < began + max(self._config.full_scan_seconds, took / _FULL_SHARE)

    def _listed(self, rows: Rows) -> Listing:
        if self._listing is None:
            newest, foreign = rows.state("marks") or [{}, []]
            lookback = timedelta(seconds=self._config.lookback_seconds)
            self._listing = Listing(self._store, lookback, marks="sidecars", start=Watermarks(newest, foreign))
        return self._listing


def _news(listing: Listing, rows: Rows) -> Iterator[Entry]:
    return (entry for entry in sidecars(listing.incremental()) if not rows.holds(entry))


def _compared(listing: Listing, rows: Rows, gone: list[str]) -> Iterator[Entry]:
    """What is new or changed, by walking through the listing and the index side by side; `gone` gets what is no more."""
    indexed = rows.in_order()
    there = next(indexed, None)
    for entry in sidecars(listing.full()):
        while there is not None and there[0] < entry.key:
            gone.append(there[0])
            there = next(indexed, None)
        if there is None or there[0] != entry.key:
            yield entry
            continue
        if there[1] != entry.etag:
            yield entry
        there = next(indexed, None)
    while there is not None:
        gone.append(there[0])
        there = next(indexed, None)
