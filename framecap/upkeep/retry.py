"""A store in, leases on chosen done frames (the failed ones) out: a worker that gets them captions them again.

A lease carries the bytes of the old sidecar, and the worker replaces that very one. Nothing is taken away first: who is
killed in the middle leaves the old sidecar, the new one, or (on a mount) none, and then the frame is pending.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from framecap.config import IngestConfig
from framecap.errors import (
    ConfigError,
    DecodeError,
    FramecapError,
    FrameGone,
    FrameUnreadable,
    KeyRefused,
    ModelError,
    PoisonFrame,
    StoreUnavailable,
    kinds_below,
)
from framecap.frames import UNSORTED, camera_of
from framecap.ingest.base import Backlog
from framecap.ingest.pending import Pending, PendingFrame
from framecap.ingest.shard import Shard
from framecap.sidecars.status_reader import TORN, ReadSidecar, read_statuses
from framecap.stores.base import Entry, Store
from framecap.stores.listing import pairs

logger = logging.getLogger(__name__)

_IN_MEMORY = 1000  # frames that were found and are not done yet
_IN_SIDECARS = {TORN, FramecapError.kind, FrameUnreadable.kind, PoisonFrame.kind}  # a frame's error is one of these kinds
_IN_SIDECARS |= kinds_below(DecodeError.kind) | kinds_below(ModelError.kind)
_TORN_AFTER_SECONDS = 60.0  # a younger one may be in its writer's hand


class FrameFilter(Protocol):
    """Which done frames: of one camera or all (None), by what their sidecars say."""

    @property
    def camera(self) -> str | None: ...

    def holds(self, read: ReadSidecar) -> bool: ...


@dataclass(frozen=True, slots=True)
class RetryFilter:
    """Which failed frames: of one camera or all (None), with one kind of error (or one below it) or any (None)."""

    camera: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and not self._kinds():
            known = ", ".join(sorted(_IN_SIDECARS))
            raise ConfigError(f"--kind: no error is of kind {self.kind!r}; there are: {known}")

    def _kinds(self) -> frozenset[str]:
        return frozenset({TORN}) if self.kind == TORN else kinds_below(self.kind or FramecapError.kind)

    def holds(self, read: ReadSidecar) -> bool:
        return read.data is not None and read.kind is not None and (self.kind is None or read.kind in self._kinds())


def chosen_frames(store: Store, choice: FrameFilter, shard: str | None) -> Iterator[ReadSidecar]:
    """The sidecars that are chosen, in the order of their keys. Raises StoreUnavailable."""
    share = None if shard is None else Shard.parse(shard)
    prefix = "" if choice.camera in (None, UNSORTED) else f"{choice.camera}/"
    now = time.time()

    def done() -> Iterator[Entry]:
        for frame, sidecar in pairs(store.list(prefix=prefix)):
            if sidecar is None or sidecar.size == 0 or (share is not None and not share.holds(frame.key)):
                continue
            if choice.camera in (None, camera_of(frame.key)):
                ages[frame.key] = now - sidecar.modified
                yield frame

    ages: dict[str, float] = {}
    for read in read_statuses(store, done()):
        age = ages.pop(read.frame.key)
        if choice.holds(read) and (read.status != TORN or age > _TORN_AFTER_SECONDS):
            yield read


def failed_among(store: Store, keys: Iterable[str]) -> Iterator[ReadSidecar]:
    """Those of these frames that are there and (still) failed, in their order. Raises StoreUnavailable."""

    def there() -> Iterator[Entry]:
        for key in keys:
            with suppress(FrameGone, FrameUnreadable, KeyRefused):
                yield store.stat(key)

    return (read for read in read_statuses(store, there()) if read.status == "failed")


class RetryLease:
    """A chosen frame leased by a worker."""

    terminal_error = None

    def __init__(self, ingest: RetryIngest, item: PendingFrame) -> None:
        self._ingest = ingest
        self.entry: Entry = item.entry
        self.attempt: int = item.attempts + 1
        self.replaces: bytes | None = item.replaces

    def settles_in(self) -> float:
        return self._ingest.settles_in(self.entry.key)

    def done(self) -> None:
        self._ingest.finish(self.entry)

    def release(self, delay: float, counts: bool = True) -> None:
        self._ingest.pending.release(self.entry.key, delay, counts)


class RetryIngest:
    """Takes the frames that `chosen` gives, in a thread of its own; exhausted when each of them was done."""

    def __init__(self, config: IngestConfig, store: Store, chosen: Iterator[ReadSidecar]) -> None:
        self._config = config
        self._store = store
        self._chosen = chosen
        self.pending = Pending(config.settle_seconds, 0.0)
        self._capacity = threading.Semaphore(_IN_MEMORY)
        self._found_all = threading.Event()
        self._closing = False
        self.failure: Exception | None = None  # which ended the search
        self._thread = threading.Thread(target=self._find, name="chosen frames", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def lease(self, timeout: float) -> RetryLease | None:
        item = self.pending.take(timeout)
        return None if item is None else RetryLease(self, item)

    def backlog(self) -> Backlog:
        return self.pending.backlog()

    def exhausted(self) -> bool:
        return self._found_all.is_set() and self.pending.idle_since() is not None

    def stop(self) -> None:
        """Nothing here is kept from others."""

    def close(self) -> None:
        self._closing = True
        self._capacity.release()
        self.pending.close()
        self._thread.join(5)  # a store that hangs must not keep the process from ending

    def settles_in(self, key: str) -> float:
        """See Lease. These frames have been there for long: their files' own time counts, where it is not a future one."""
        entry = self._store.stat(key)
        age = time.time() - entry.modified
        return max(0.0, self._config.settle_seconds - age) if age >= 0 else 0.0

    def finish(self, entry: Entry) -> None:
        self.pending.done(entry.key, entry.etag)
        self._capacity.release()

    def _find(self) -> None:
        try:
            for read in self._chosen:
                self._capacity.acquire()
                if self._closing:
                    return
                self.pending.observe(read.frame, sure=read.frame.size > 0, replaces=read.data)
        except StoreUnavailable as error:
            logger.error("the search for frames has ended early, run it again: %s", error)  # noqa: TRY400
            self.failure = error
        except Exception as error:
            logger.exception("the search for frames has ended early")
            self.failure = error
        finally:
            self._found_all.set()
