"""The pending set: what scans and hints observe in, frames for workers out; fair across cameras, in key order within one.

It holds as many frames as its admission lets in, and knows where those begin that it skipped. A frame is READY (a worker
may have it), WAITING (until a time: it settles, or was given back) or IN_HAND. Everything waits on one condition; nothing
polls.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from framecap.frames import camera_of
from framecap.ingest.admission import Admission, Refill
from framecap.ingest.base import Backlog
from framecap.stores.base import Entry
from framecap.telemetry import pending_frames


class PendingState(Enum):
    WAITING = "waiting"
    READY = "ready"
    IN_FLIGHT = "in flight"


_PATIENT_SETTLES = 2  # of settle_seconds, since it was first seen, until a frame that changes all the time is tried


@dataclass(slots=True)
class PendingFrame:
    """One pending frame. Times are this process's monotonic seconds."""

    entry: Entry
    replaces: bytes | None
    since: float  # when this content (etag) was first seen
    looked: float  # when it was last seen
    first_seen: float  # when the frame was first seen, whatever its content was
    first_modified: float  # its modification time then (Unix seconds)
    ready_at: float = 0.0
    state: PendingState = PendingState.WAITING
    attempts: int = 0
    tried: str | None = None  # the etag that was last leased


class Pending:
    """Frames without a sidecar. Safe to use from several threads."""

    def __init__(
        self,
        settle_seconds: float,
        confirm_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        admission: Admission | None = None,
    ) -> None:
        self._settle = settle_seconds
        self._confirm = confirm_seconds  # two looks at least so far apart make a frame sure
        self._clock = clock
        self._admission = admission or Admission()
        self._is_full_scan = False
        self._changed = threading.Condition()
        self._items: dict[str, PendingFrame] = {}
        self._in_flight = 0
        self._ready: dict[str, list[str]] = {}  # camera → heap of keys; may hold keys that are not ready any more
        self._turn: deque[str] = deque()  # cameras with something in their heap, the next one first
        self._waiting: list[tuple[float, str]] = []  # heap of times; may hold what is no longer true
        self._done: dict[str, str] = {}  # key → etag of what was done since the last scan began
        self._closed = False
        self._last_activity = clock()

    def observe(self, entry: Entry, sure: bool, replaces: bytes | None = None, listed: bool = False) -> bool:
        """A frame without a sidecar was seen. Returns whether it was unknown, and is kept.

        `sure` frames (closed, renamed into place, or there before us) are ready at once. Others are ready when a second look
        finds them unchanged, or when they have settled; empty ones when they have settled. What a listing shows (`listed`)
        may be older than the sidecar that was committed meanwhile.
        """
        with self._changed:
            now = self._clock()
            item = self._items.get(entry.key)
            if item is None:
                if listed and self._done.get(entry.key) == entry.etag:
                    return False
                if replaces is not None:  # only the first scan looks for torn sidecars
                    self._admission.keep(entry.key)
                elif not self._admission.admit(entry.key):
                    self._admission.skip(entry.key, counts=listed and self._is_full_scan)
                    return False
                self._add(entry, now, sure, replaces)
                return True
            known = item.entry.etag == entry.etag
            if not known:
                item.entry, item.since, item.attempts = entry, now, 0
                # one that is replaced again and again never looks the same twice: it is tried all the same
                sure = sure or now - item.first_seen >= _PATIENT_SETTLES * self._settle
                self._last_activity = now
            item.looked = now
            if (
                item.state is PendingState.WAITING and item.tried != entry.etag
            ):  # the same bytes are not tried again any sooner
                if sure or not known:
                    self._decide(item, now, sure)
                elif self._is_confirmed(item, now):
                    self._wait_until(item, now)
            return False

    def refill(self, entry: Entry, sure: bool) -> bool:
        """A frame that may have been skipped was listed. Whether it could be kept, or is done or known already."""
        with self._changed:
            if entry.key in self._items or self._done.get(entry.key) == entry.etag:
                return True
            if not self._admission.admit(entry.key, refilling=True):
                return False
            self._add(entry, self._clock(), sure, None)
            return True

    def _add(self, entry: Entry, now: float, sure: bool, replaces: bytes | None) -> None:
        item = self._items[entry.key] = PendingFrame(
            entry, replaces, now, now, first_seen=now, first_modified=entry.modified
        )
        self._last_activity = now
        self._decide(item, now, sure)
        self._publish()

    def is_whole(self) -> bool:
        """Whether no frame was skipped."""
        return self._admission.is_whole

    def refills(self) -> list[Refill]:
        """The folders in which frames were skipped, and for which there is room again."""
        with self._changed:
            return [] if self._admission.is_whole else self._admission.refills()

    def refilled(self, refill: Refill, first: str | None) -> None:
        """A folder was listed again, up to the key `first` that could not be kept; None: to its end."""
        with self._changed:
            self._admission.refilled(refill, first)
            self._last_activity = self._clock()
            self._publish()

    def _decide(self, item: PendingFrame, now: float, sure: bool) -> None:
        self._wait_until(item, now if sure and item.entry.size > 0 else item.since + self._settle)

    def _is_confirmed(self, item: PendingFrame, now: float) -> bool:
        return item.entry.size > 0 and now - item.since >= self._confirm

    def _wait_until(self, item: PendingFrame, at: float) -> None:
        key = item.entry.key
        item.ready_at = at
        if at > self._clock():
            item.state = PendingState.WAITING
            heapq.heappush(self._waiting, (at, key))
            self._changed.notify_all()
            return
        item.state = PendingState.READY
        camera = camera_of(key)
        if camera not in self._ready:
            self._ready[camera] = []
            self._turn.append(camera)
        heapq.heappush(self._ready[camera], key)
        self._changed.notify()

    def drop(self, key: str) -> None:
        """The frame has its sidecar, or has gone. What is leased stays, and what has a torn sidecar to be replaced."""
        if key not in self._items:  # the usual case in a scan, without the lock
            return
        with self._changed:
            item = self._items.get(key)
            if item is not None and item.state is not PendingState.IN_FLIGHT and item.replaces is None:
                del self._items[key]
                self._admission.gone(key)
                self._publish()

    def take(self, timeout: float) -> PendingFrame | None:
        """The next ready frame, now IN_HAND, or None after `timeout` seconds or when closed."""
        deadline = self._clock() + timeout
        with self._changed:
            while not self._closed:
                now = self._clock()
                self._wake(now)
                item = self._next()
                if item is not None:
                    item.state = PendingState.IN_FLIGHT
                    item.tried = item.entry.etag
                    self._in_flight += 1
                    return item
                until = min(deadline, self._waiting[0][0]) if self._waiting else deadline
                if now >= deadline:
                    return None
                self._changed.wait(until - now)
        return None

    def _wake(self, now: float) -> None:
        """What has waited long enough becomes ready."""
        while self._waiting and self._waiting[0][0] <= now:
            at, key = heapq.heappop(self._waiting)
            item = self._items.get(key)
            if item is not None and item.state is PendingState.WAITING and item.ready_at == at:
                self._wait_until(item, now)

    def _next(self) -> PendingFrame | None:
        while self._turn:
            camera = self._turn.popleft()
            keys = self._ready[camera]
            item = self._items.get(heapq.heappop(keys))
            if keys:
                self._turn.append(camera)
            else:
                del self._ready[camera]
            if item is not None and item.state is PendingState.READY:
                return item
        return None

    def done(self, key: str, etag: str) -> bool:
        """A frame in flight has its sidecar, or has gone. Returns whether it was replaced meanwhile: then look at it
        again."""
        with self._changed:
            item = self._items.pop(key)
            self._admission.gone(key)
            self._in_flight -= 1
            self._done[key] = etag
            self._last_activity = self._clock()
            self._publish()
            return item.entry.etag != etag

    def release(self, key: str, delay: float, counts: bool) -> None:
        """A frame in flight comes back, for `delay` seconds. One that was replaced meanwhile starts to count anew."""
        with self._changed:
            item = self._items[key]
            self._in_flight -= 1
            self._last_activity = now = self._clock()
            if counts and item.tried == item.entry.etag:
                item.attempts += 1
            self._wait_until(item, now + delay)

    def settles_in(self, key: str) -> float:
        """Seconds until the frame has been the same for `settle_seconds`; 0.0 when it has."""
        with self._changed:
            return max(0.0, self._items[key].since + self._settle - self._clock())

    def begin_scan(self, full: bool = False) -> float:
        """From now on a listing may be older than what is done; `full`: it shows everything. Returns now."""
        with self._changed:
            self._done.clear()
            self._is_full_scan = full
            if full:
                self._admission.recount()
            return self._clock()

    def unconfirmed(self, before: float) -> list[str]:
        """Frames that wait for a second look and were last looked at before that time."""
        with self._changed:
            return [
                key
                for key, item in self._items.items()
                if item.state is PendingState.WAITING
                and item.looked < before
                and item.tried != item.entry.etag
                and item.entry.size
            ]

    def touch(self) -> None:
        """Something may have appeared."""
        with self._changed:
            self._last_activity = self._clock()

    def idle_since(self) -> float | None:
        """When the last thing happened, if nothing is pending; else None."""
        with self._changed:
            return self._last_activity if not self._items and self._admission.is_whole else None

    def backlog(self) -> Backlog:
        with self._changed:
            oldest = min((item.first_modified for item in self._items.values()), default=None)
            return Backlog(self._count(), self._in_flight, oldest)

    def close(self) -> None:
        """Nothing more is given out; what is in flight can still be ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def _count(self) -> int:
        return len(self._items) + self._admission.skipped

    def _publish(self) -> None:
        pending_frames.set(self._count())
