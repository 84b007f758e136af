"""A store's sidecars in, Sidecar objects out: those that are listed, or all there are in time order."""

from __future__ import annotations

import hashlib
import heapq
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, itemgetter

from framecap.errors import KeyRefused, SidecarError
from framecap.frames import SIDECAR_SUFFIX, parse_key
from framecap.sidecar import Sidecar, decode
from framecap.stores.base import Entry, Store

logger = logging.getLogger(__name__)

Place = tuple[datetime, str]  # in time order: captured_at, then the frame's key


@dataclass(frozen=True, slots=True)
class Found:
    """A sidecar as it was found: `etag` and `modified` (Unix seconds, by the store's clock) are those of its listing."""

    sidecar: Sidecar
    etag: str
    modified: float

    @property
    def key(self) -> str:
        """The frame's."""
        return self.sidecar.frame.key

    @property
    def place(self) -> Place:
        return (self.sidecar.frame.captured_at, self.key)

    @property
    def id(self) -> str:
        """Names this commit of this frame, however often it is given: 32 hexadecimal digits, made of the frame's key and
        `committed_at` alone. A frame that is captioned anew (retry) has a new one."""
        return commit_id(self.sidecar)


def commit_id(sidecar: Sidecar) -> str:
    """See Found.id."""
    text = f"{sidecar.frame.key}\n{sidecar.committed_at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Reader:
    """Reads the sidecars that are listed; says once of each that is torn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._torn: dict[str, str] = {}
        self.newest_listed = -math.inf  # of the sidecars there when `all` began; never after now

    def all(self) -> Iterator[Found]:
        """Everything there is, in time order: one stream per camera of own keys, one of foreign keys, merged."""
        now = time.time()
        cameras: dict[str, None] = {}
        foreign: list[tuple[Place, Entry]] = []
        for entry in sidecars(self._store.list()):
            self.newest_listed = max(self.newest_listed, min(entry.modified, now))
            if parse_key(frame_of(entry)) is not None:
                cameras[entry.key.partition("/")[0]] = None
            else:
                foreign.extend((found.place, entry) for found in self.read([entry]))
        foreign.sort(key=itemgetter(0))
        streams = [self._own(camera) for camera in cameras]
        yield from heapq.merge(*streams, self.read(entry for _, entry in foreign), key=attrgetter("place"))

    def _own(self, camera: str) -> Iterator[Found]:
        entries = sidecars(self._store.list(prefix=f"{camera}/"))
        return self.read(entry for entry in entries if parse_key(frame_of(entry)) is not None)

    def read(self, entries: Iterable[Entry]) -> Iterator[Found]:
        """The listed sidecars that are whole, in the order given."""
        for entry in entries:
            key = frame_of(entry)
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
            yield Found(sidecar, entry.etag, entry.modified)


def sidecars(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The sidecars of a listing, those of size 0 (their writer died) left out."""
    return (entry for entry in entries if entry.key.endswith(SIDECAR_SUFFIX) and entry.size > 0)


def frame_of(entry: Entry) -> str:
    """The key of a listed sidecar's frame."""
    return entry.key.removesuffix(SIDECAR_SUFFIX)
