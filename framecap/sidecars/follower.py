"""A store in, the sidecars that are committed to it out, each once: a follower, and the memory of what it has given.

The position is a time of the store's clock up to which everything was given. What is committed later comes, and so does what
is up to a lookback older and not remembered as given: clocks differ, and listings are not made in one moment. The position
moves when all that one look has found was given, so that who is killed in between goes on with what is left.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import attrgetter
from typing import Protocol

from framecap.config import IngestConfig
from framecap.errors import StoreUnavailable
from framecap.runtime.stop import WaitableStop
from framecap.sidecars.reader import FoundSidecar, SidecarReader, frame_of, is_sidecar, sidecars
from framecap.stores.base import Entry, Store
from framecap.stores.listing import Listing

logger = logging.getLogger(__name__)

_TIDY_EVERY = 10_000  # sidecars
_TOGETHER = 10_000  # sidecars that are in memory at most
_GATHER_SECONDS = 2.0  # of a listing that goes on: what it has brought until then is given
_SHARE = 0.05  # of the time, at most, is spent on listing everything


class Cursor(Protocol):
    """What was given: a durable one lets a follower go on where another ended, however that one ended."""

    @property
    def position(self) -> float:
        """Everything committed up to then was given (Unix seconds, by the store's clock); -inf at the very start."""
        ...

    @property
    def forgotten(self) -> float:
        """What was committed after that is remembered, if it was given (Unix seconds); -inf where nothing was forgotten."""
        ...

    def holds(self, key: str, etag: str) -> bool:
        """Whether this sidecar of that frame was given."""
        ...

    def add(self, key: str, etag: str, modified: float) -> None:
        """It is given."""
        ...

    def advance(self, position: float, forget_before: float) -> None:
        """Everything up to `position` is given; what was committed before `forget_before` need not be remembered."""
        ...


class MemoryCursor:
    """A cursor for the life of this process."""

    def __init__(self) -> None:
        self.position = -math.inf
        self.forgotten = -math.inf
        self._delivered: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._delivered)

    def holds(self, key: str, etag: str) -> bool:
        delivered = self._delivered.get(key)
        return delivered is not None and delivered[0] == etag

    def add(self, key: str, etag: str, modified: float) -> None:
        self._delivered[key] = (etag, modified)

    def advance(self, position: float, forget_before: float) -> None:
        self.position = position
        self.forgotten = max(self.forgotten, forget_before)
        self._delivered = {key: delivered for key, delivered in self._delivered.items() if delivered[1] > forget_before}


def remembered_seconds(config: IngestConfig) -> float:
    """How far behind the position a memory reaches: no full listing must come too late."""
    return max(config.lookback_seconds, 2 * config.full_scan_seconds)


class Follower:
    """Finds what was committed and not given yet.

    `run` is the whole of it; who keeps a durable memory calls `poll`, and `done` for each sidecar that is dealt with.
    """

    def __init__(self, store: Store, cursor: Cursor, config: IngestConfig | None = None) -> None:
        config = config or IngestConfig()
        self._cursor = cursor
        self.reader = SidecarReader(store)
        self._pause = config.scan_seconds
        self._full_every = config.full_scan_seconds
        self._remembered = self._lookback = remembered_seconds(config)
        self._listing = Listing(store, timedelta(seconds=config.lookback_seconds), marks="sidecars")
        self._next_full = -math.inf
        self._newest = -math.inf  # of what is done

    def skip_what_is_there(self) -> None:
        """Begin now, if nothing was given ever: what was committed before this call counts as given.

        "Before" is by this machine's clock. Raises StoreUnavailable.
        """
        if self._cursor.position > -math.inf:
            return
        began = time.time()
        newest = -math.inf
        for number, entry in enumerate(sidecars(self._full())):
            if entry.modified < began:
                newest = max(newest, entry.modified)
                self._cursor.add(frame_of(entry), entry.etag, entry.modified)
            if number % _TIDY_EVERY == _TIDY_EVERY - 1:
                self._cursor.advance(self._cursor.position, newest - self._lookback)
        self._cursor.advance(newest if newest > -math.inf else began, newest - self._lookback)

    def poll(self, on_progress: Callable[[], object] = lambda: None) -> Iterator[FoundSidecar]:
        """One look: what was not given yet, in time order (of ten thousand at a time, or what two seconds of listing bring).

        What is not `done` comes again with the next look. The position moves when the iterator has come to its end and all
        of it is done. `on_progress` hears that the look goes on, though nothing may be new. Raises StoreUnavailable.
        """
        full = time.monotonic() >= self._next_full
        left = 0
        for new in self._new(self._full() if full else self._listing.incremental()):
            on_progress()
            some = []
            for found in self.reader.read(new):
                on_progress()
                some.append(found)
            for found in sorted(some, key=attrgetter("sort_key")):
                yield found
                left += not self._cursor.holds(found.key, found.etag)
        if not left and self._newest > self._cursor.position:
            self._cursor.advance(self._newest, self._newest - self._lookback)

    def _new(self, entries: Iterator[Entry]) -> Iterator[list[Entry]]:
        """What was not given yet, as the listing brings it; in a long one there may be nothing at a time."""
        horizon = self._horizon()
        new: list[Entry] = []
        began = time.monotonic()
        for entry in entries:
            if is_sidecar(entry) and entry.modified > horizon and not self._cursor.holds(frame_of(entry), entry.etag):
                new.append(entry)
            if len(new) >= _TOGETHER or time.monotonic() - began > _GATHER_SECONDS:
                yield new
                new, began = [], time.monotonic()
        yield new

    def _horizon(self) -> float:
        """What was committed up to then was given, or is older than anything that is given at all."""
        forgotten = self._cursor.forgotten
        horizon = forgotten if forgotten > -math.inf else self._cursor.position - self._lookback
        return min(horizon, time.time() - self._lookback)  # a clock that was ahead must not hide the present

    def done(self, found: FoundSidecar) -> None:
        """It need not come again."""
        self._cursor.add(found.key, found.etag, found.modified)
        self._newest = max(self._newest, min(found.modified, time.time()))  # a clock of the future must not hide the present

    def run(self, stop: WaitableStop) -> Iterator[FoundSidecar]:
        """Look again and again until `stop` is set; who asks for the next has dealt with the last. Waits for a store that is
        away."""
        away = False
        while not stop.is_set():
            try:
                for found in self.poll():
                    if stop.is_set():
                        return
                    yield found
                    self.done(found)
                away = False
            except StoreUnavailable as error:
                if not away:
                    logger.warning("cannot read the sidecars, will try again: %s", error)
                away = True
            stop.wait(self._pause)

    def _full(self) -> Iterator[Entry]:
        """Everything. The longer a store takes to list, the later it is listed again, and the further back the memory
        reaches, so that what was committed behind this listing is new to the next one."""
        began, listing = time.monotonic(), 0.0
        entries = self._listing.full()
        while True:
            asked = time.monotonic()
            entry = next(entries, None)
            listing += time.monotonic() - asked
            if entry is None:
                break
            yield entry
        pause = max(self._full_every, listing / _SHARE)
        self._next_full = began + pause
        self._lookback = max(self._remembered, 2 * max(pause, time.monotonic() - began))
