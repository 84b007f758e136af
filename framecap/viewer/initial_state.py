"""A store in; the newest sidecar of each camera and the last ones of all out, found without listing all that came before."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from framecap.errors import SidecarError
from framecap.frames import SIDECAR_SUFFIX, hour_prefix, parse_key
from framecap.sidecars.sidecar import Sidecar, decode
from framecap.sidecars.status_reader import read_statuses
from framecap.stores.base import Entry, Store

logger = logging.getLogger(__name__)

_LOOKBACKS = (timedelta(hours=1), timedelta(days=1), timedelta(days=31))  # and then everything


def opening_sidecars(store: Store, cameras: int, last: int, known: dict[str, str], now: datetime) -> Iterator[Sidecar]:
    """The newest sidecar of each of so many cameras at most, then the `last` of all in the order of time.

    What is `known` (key to etag) does not come, and what comes is known then. A torn one is ignored. Where keys are
    framecap's own, a camera that is at work costs one short listing. Raises StoreUnavailable.
    """
    last_of_all: list[Entry] = []

    def newest_of_each() -> Iterator[Entry]:
        nonlocal last_of_all
        for entries in islice(_by_camera(store, last, now), cameras):
            last_of_all = _newest([*last_of_all, *entries], last)
            yield from entries[-1:]

    yield from _read(store, newest_of_each(), known)
    yield from _read(store, last_of_all, known)


def _read(store: Store, entries: Iterable[Entry], known: dict[str, str]) -> Iterator[Sidecar]:
    def unknown() -> Iterator[Entry]:
        for entry in entries:
            if known.get(entry.key) != entry.etag:
                known[entry.key] = entry.etag
                yield Entry(_frame(entry), entry.size, entry.modified, entry.etag)

    for read in read_statuses(store, unknown()):
        if read.data:
            try:
                yield decode(read.data, where=ascii(read.frame.key)).found_at(read.frame.key)
            except SidecarError as error:
                logger.debug("ignored: %s", error)


def _by_camera(store: Store, count: int, now: datetime) -> Iterator[list[Entry]]:
    """Of each folder in the root, and of the root itself, the last sidecars, the newest one last."""
    in_root: list[Entry] = []
    for item in store.top():
        if isinstance(item, str):
            yield _last_of(store, item, count, now)
        else:
            in_root = _newest([*in_root, item], count)
    yield in_root


def _last_of(store: Store, folder: str, count: int, now: datetime) -> list[Entry]:
    for lookback in _LOOKBACKS:
        since = (now - lookback).replace(minute=0, second=0, microsecond=0)
        after = hour_prefix(folder.removesuffix("/"), since)
        found = _newest((entry for entry in store.list(folder, after=after) if parse_key(_frame(entry)) is not None), count)
        if found and _time(found[-1])[0] >= since.timestamp():  # else it is of the future, and older than it says
            return found
    return _newest(store.list(folder), count)


def _newest(entries: Iterable[Entry], count: int) -> list[Entry]:
    """Of own keys by their names' time (one of the future is as old as its commit: a clock was wrong), of foreign ones by
    the sidecar's; the oldest first."""
    sidecars = (entry for entry in entries if entry.key.endswith(SIDECAR_SUFFIX) and entry.size > 0)
    return heapq.nlargest(count, sidecars, key=_time)[::-1]


def _time(entry: Entry) -> tuple[float, str]:
    name = parse_key(_frame(entry))
    return (min(name.captured_at.timestamp(), entry.modified) if name else entry.modified), entry.key


def _frame(entry: Entry) -> str:
    return entry.key.removesuffix(SIDECAR_SUFFIX)
