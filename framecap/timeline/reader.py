"""A place with sidecars in, Sidecar objects out, in time order; can follow what is committed later."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import ConfigError, KeyRefused, SidecarError, StoreUnavailable
from framecap.frames import SIDECAR_SUFFIX, parse_key
from framecap.ingest.scan import Listing
from framecap.sidecar import Sidecar, decode
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.stores.s3_client import is_s3

logger = logging.getLogger(__name__)

_Place = tuple[datetime, str]  # in time order: captured_at, then the frame's key


class _Found(NamedTuple):
    place: _Place
    modified: float
    sidecar: Sidecar


def read_sidecars(path: str | Path, follow: bool = False, stop: threading.Event | None = None) -> Iterator[Sidecar]:
    """The sidecars below a directory (local or mounted) or s3://bucket/prefix, in the order of `captured_at`, then key.

    Of own keys, a folder's names and one sidecar per camera are in memory; of foreign keys, whose names do not sort by time,
    every time and key is. With `follow` it then goes on, until `stop` is set, with the sidecars that are committed later: as
    they are found, every two seconds, the ones found together in time order. Each key comes once (one whose sidecar is
    replaced may come again). A torn sidecar is passed over with a warning, and with `follow` comes when it is whole.
    A bucket is reached as AWS's own settings say (AWS_ENDPOINT_URL_S3 names another server). Raises ConfigError when there
    is no such directory or bucket, StoreUnavailable when it goes away (with `follow` it waits instead).
    """
    if not is_s3(str(path)) and not Path(path).is_dir():
        raise ConfigError(f"{str(path)!r}: no such directory: give the one that holds the sidecars")
    store = open_store(StoreConfig(frames=str(path)))
    reader = _Reader(store)
    return _Follower(store, reader).run(stop or threading.Event()) if follow else (found.sidecar for found in reader.all())


class _Reader:
    """Reads the sidecars that are listed; says once of each that is torn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._torn: dict[str, str] = {}

    def all(self) -> Iterator[_Found]:
        """Everything there is, in time order: one stream per camera of own keys, one of foreign keys, merged."""
        cameras: dict[str, None] = {}
        foreign: list[tuple[_Place, Entry]] = []
        for entry in _sidecars(self._store.list()):
            if parse_key(_frame(entry)) is not None:
                cameras[entry.key.partition("/")[0]] = None
            else:
                foreign.extend((found.place, entry) for found in self.read([entry]))
        foreign.sort(key=itemgetter(0))
        streams = [self._own(camera) for camera in cameras]
        yield from heapq.merge(*streams, self.read(entry for _, entry in foreign), key=attrgetter("place"))

    def _own(self, camera: str) -> Iterator[_Found]:
        entries = _sidecars(self._store.list(prefix=f"{camera}/"))
        return self.read(entry for entry in entries if parse_key(_frame(entry)) is not None)

    def read(self, entries: Iterable[Entry]) -> Iterator[_Found]:
        """The listed sidecars that are whole, in the order given."""
        for entry in entries:
            key = _frame(entry)
            try:
                data = self._store.read_sidecar(key)
                if data is None:
                    continue
                sidecar = decode(data, where=ascii(entry.key))
            except (SidecarError, KeyRefused) as error:
                if self._torn.get(key) != entry.etag:
                    self._torn[key] = entry.etag
                    logger.warning("passed over: %s", error)
                continue
            self._torn.pop(key, None)
            yield _Found((sidecar.frame.captured_at, key), entry.modified, sidecar)


class _Follower:
    """Goes on where the first reading ended.

    What was committed more than a look-back before the newest sidecar counts as given; of what is younger, the keys that
    were given are remembered.
    """

    def __init__(self, store: Store, reader: _Reader) -> None:
        config = IngestConfig()
        self._reader = reader
        self._pause = config.scan_seconds
        self._look_back = config.look_back_seconds
        self._full_every = config.full_scan_seconds
        self._listing = Listing(store, timedelta(seconds=self._look_back), marks="sidecars")
        self._given: dict[str, float] = {}  # frame's key → when its sidecar was committed
        self._newest = -math.inf
        self._next_full = -math.inf

    def run(self, stop: threading.Event) -> Iterator[Sidecar]:
        last: _Place | None = None
        started = away = False
        while not stop.is_set():
            try:
                for found in self._later() if started else self._reader.all():
                    if stop.is_set():
                        return
                    if started or last is None or found.place > last:
                        last = found.place
                        self._note(found)
                        yield found.sidecar
                started, away = True, False
                self._forget()
            except StoreUnavailable as error:
                if not away:
                    logger.warning("cannot read the sidecars, will try again: %s", error)
                away = True
            stop.wait(self._pause)

    def _later(self) -> Iterator[_Found]:
        """What was not given yet, in time order."""
        full = time.monotonic() >= self._next_full
        horizon = self._newest - self._look_back
        new = [
            entry
            for entry in _sidecars(self._listing.full() if full else self._listing.incremental())
            if entry.modified > horizon and _frame(entry) not in self._given
        ]
        if full:
            self._next_full = time.monotonic() + self._full_every
        dated = [(found.place, entry) for entry in new for found in self._reader.read([entry])]
        dated.sort(key=itemgetter(0))
        return self._reader.read(entry for _, entry in dated)

    def _note(self, found: _Found) -> None:
        self._given[found.place[1]] = found.modified
        self._newest = max(self._newest, found.modified)
        if len(self._given) % 10_000 == 0:
            self._forget()

    def _forget(self) -> None:
        horizon = self._newest - self._look_back
        self._given = {key: modified for key, modified in self._given.items() if modified > horizon}


def _sidecars(entries: Iterator[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.key.endswith(SIDECAR_SUFFIX) and entry.size > 0)


def _frame(entry: Entry) -> str:
    return entry.key.removesuffix(SIDECAR_SUFFIX)
