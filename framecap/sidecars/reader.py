"""A store's sidecars in, Sidecar objects out: those that are listed, or all there are in time order."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Self

from framecap.errors import KeyRefused, SidecarError
from framecap.frames import SIDECAR_SUFFIX, UNSORTED, hour_prefix, parse_key, sidecar_key
from framecap.sidecars.sidecar import Sidecar, decode, is_foreign
from framecap.stores.base import Entry, Store

logger = logging.getLogger(__name__)

_READERS = 8  # threads
_AHEAD = 16  # sidecars of one camera that are being read

SortKey = tuple[datetime, str]  # in time order: captured_at, then the frame's key


@dataclass(frozen=True, slots=True)
class FoundSidecar:
    """A sidecar as it was found: `key` (its frame's), `etag` and `modified` (Unix seconds, by the store's clock) are those
    of its listing. Where a folder was copied or renamed, the sidecar itself tells of another key."""

    key: str
    sidecar: Sidecar
    etag: str
    modified: float

    @property
    def sort_key(self) -> SortKey:
        return (self.sidecar.frame.captured_at, self.key)

    def beside_its_frame(self) -> Sidecar:
        """The sidecar, with the key under which it was found for its frame's."""
        return self.sidecar.found_at(self.key)

    @property
    def id(self) -> str:
        """Names this commit of this frame, however often it is given: 32 hexadecimal digits, made of the key that
        the sidecar tells and `committed_at` alone. A frame that is captioned anew (retry) has a new one."""
        return commit_id(self.sidecar)


def commit_id(sidecar: Sidecar) -> str:
    """See Found.id."""
    text = f"{sidecar.frame.key}\n{sidecar.committed_at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class SidecarFilter:
    """Which sidecars: of one camera or all (None), captured from `since` on and before `until` (None: no limit)."""

    camera: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


EVERYTHING = SidecarFilter()


class SidecarReader:
    """Reads the sidecars that are listed; says once of each that is torn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._torn: dict[str, str] = {}
        self.newest_listed = -math.inf  # of the sidecars there when `all` began; never after now

    def all(self, choice: SidecarFilter = EVERYTHING) -> Iterator[FoundSidecar]:
        """Everything that is chosen, in time order: one stream per camera of own keys, one of foreign keys, merged.

        Of own keys, a folder's names and a few sidecars per camera are in memory; foreign keys, whose names do not sort by
        time, are sorted on disk (a temporary file of some 150 bytes each).
        """
        with _readers(self._store) as pool, TimeOrder() as foreign:
            cameras: dict[str, None] = {}
            for found in self._read(self._foreign(choice, cameras), pool):
                foreign.add(found)
            streams = [self._chosen(self._own(camera, choice), choice, pool) for camera in cameras]
            yield from heapq.merge(*streams, self._chosen(foreign.entries(), choice, pool), key=attrgetter("sort_key"))

    def read(self, entries: Iterable[Entry]) -> Iterator[FoundSidecar]:
        """The listed sidecars that are whole, in the order given; where reads wait for a network, several at a time."""
        with _readers(self._store) as pool:
            yield from self._read(entries, pool)

    def _foreign(self, choice: SidecarFilter, cameras: dict[str, None]) -> Iterator[Entry]:
        """The sidecars of foreign keys; the cameras that have own ones are noted."""
        now = time.time()
        for entry in sidecars(self._listed(choice.camera)):
            self.newest_listed = max(self.newest_listed, min(entry.modified, now))
            if parse_key(frame_of(entry)) is not None:
                cameras[entry.key.partition("/")[0]] = None
            else:
                yield entry

    def _listed(self, camera: str | None) -> Iterator[Entry]:
        if camera is None:
            return self._store.list()
        below = self._store.list(prefix=f"{camera}/")
        if camera != UNSORTED:
            return below
        return itertools.chain((item for item in self._store.top() if isinstance(item, Entry)), below)

    def _own(self, camera: str, choice: SidecarFilter) -> Iterator[Entry]:
        after = "" if choice.since is None else hour_prefix(camera, choice.since)
        for entry in sidecars(self._store.list(prefix=f"{camera}/", after=after)):
            name = parse_key(frame_of(entry))
            if name is not None and choice.holds(name.captured_at):
                yield entry

    def _chosen(self, entries: Iterable[Entry], choice: SidecarFilter, pool: Executor | None) -> Iterator[FoundSidecar]:
        return (found for found in self._read(entries, pool) if choice.holds(found.sidecar.frame.captured_at))

    def _read(self, entries: Iterable[Entry], pool: Executor | None) -> Iterator[FoundSidecar]:
        for entry, read in _fetched(entries, self._bytes, pool):
            key = frame_of(entry)
            data = None
            try:
                data = read()
                if data is None:
                    continue
                sidecar = decode(data, where=ascii(entry.key))
            except (SidecarError, KeyRefused) as error:
                if data is not None and is_foreign(data):  # another program's file is none of a reader's business
                    continue
                if self._torn.get(key) != entry.etag:
                    self._torn[key] = entry.etag
                    logger.warning("ignored: %s", error)
                continue
            self._torn.pop(key, None)
            yield FoundSidecar(key, sidecar, entry.etag, entry.modified)

    def _bytes(self, entry: Entry) -> bytes | None:
        return self._store.read_sidecar(frame_of(entry))


class TimeOrder:
    """Takes what was found, and gives its entries back in time order; what is in between is on disk."""

    def __enter__(self) -> Self:
        self._rows = sqlite3.connect("", check_same_thread=False)  # a temporary file that nobody else sees
        self._rows.execute("CREATE TABLE found (at TEXT, key TEXT, size INTEGER, modified REAL, etag TEXT)")
        return self

    def __exit__(self, *exception: object) -> None:
        self._rows.close()

    def add(self, found: FoundSidecar) -> None:
        at, key = found.sort_key
        row = (at.isoformat(timespec="microseconds"), sidecar_key(key), found.modified, found.etag)
        self._rows.execute("INSERT INTO found VALUES (?, ?, 1, ?, ?)", row)

    def entries(self) -> Iterator[Entry]:
        for key, size, modified, etag in self._rows.execute("SELECT key, size, modified, etag FROM found ORDER BY at, key"):
            yield Entry(key, size, modified, etag)


@contextmanager
def _readers(store: Store) -> Iterator[Executor | None]:
    """Threads that read, where a read waits for a network; None on a local disk, where they would only be in the way."""
    if store.hints:
        yield None
        return
    pool = ThreadPoolExecutor(_READERS, "sidecars")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _fetched(
    entries: Iterable[Entry], fetch: Callable[[Entry], bytes | None], pool: Executor | None
) -> Iterator[tuple[Entry, Callable[[], bytes | None]]]:
    """Each entry in its order, with what gives its bytes; with a pool they are being fetched already."""
    if pool is None:
        for entry in entries:
            yield entry, partial(fetch, entry)
        return
    waiting: deque[tuple[Entry, Callable[[], bytes | None]]] = deque()
    for entry in entries:
        waiting.append((entry, pool.submit(fetch, entry).result))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def sidecars(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The sidecars of a listing, those of size 0 (their writer died) skipped."""
    return filter(is_sidecar, entries)


def is_sidecar(entry: Entry) -> bool:
    """Whether a listed object is a sidecar with something in it."""
    return entry.key.endswith(SIDECAR_SUFFIX) and entry.size > 0


def frame_of(entry: Entry) -> str:
    """The key of a listed sidecar's frame."""
    return entry.key.removesuffix(SIDECAR_SUFFIX)
