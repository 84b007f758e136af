"""The bounded queue between a camera's reader and its writer: frames in, the same frames in the same order out.

Frames wait in memory. Where there is a spool they wait on local disk once the store is away or memory is full: those on disk
are older than those in memory, and the one in the writer's hand is older than both. That is what keeps the order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from framecap.capture.captured import CapturedFrame
from framecap.capture.spool import CameraSpool

Policy = Literal["wait", "drop_oldest", "drop_newest"]

STUCK_SECONDS = 2.0  # a store that has not answered for so long counts as away
_POLL_SECONDS = 0.25  # how soon room in a full spool is seen, which another camera may have made


@dataclass(slots=True)
class _InFlight:
    """The frame that the writer has: `number` is its place in the spool, None while it is in memory only."""

    frame: CapturedFrame
    number: int | None
    since: float


class FrameQueue:
    """First in, first out, for one producer and one consumer thread; `dropped` hears of each frame that overflows."""

    def __init__(
        self, capacity: int, policy: Policy, dropped: Callable[[str, int], None], spool: CameraSpool | None = None
    ) -> None:
        self._capacity = capacity
        self._policy = policy
        self._dropped = dropped
        self._spool = spool
        self._memory: deque[CapturedFrame] = deque()
        self._in_flight: _InFlight | None = None
        self._away = False
        self._closed = False
        self._released = False
        self._changed = threading.Condition()

    @property
    def durable(self) -> bool:
        """Whether there is a spool: what cannot be stored now can be stored later."""
        return self._spool is not None

    def put(self, frame: CapturedFrame) -> None:
        """Add a frame; the policy says which one goes when there is no room.

        Under `wait` it blocks while there is none, until `release`.
        """
        with self._changed:
            while self._is_full(frame):
                if self._policy == "drop_newest":
                    self._dropped(self._policy, 1)
                    return
                if self._policy == "drop_oldest":
                    self._memory.popleft()
                    self._dropped(self._policy, 1)
                elif self._released:
                    break
                else:
                    self._changed.wait(_POLL_SECONDS if self._spool else None)
            self._memory.append(frame)
            if self._should_spool(frame, full=False):
                self._move_to_disk()
            self._changed.notify_all()

    def holds(self, frame: CapturedFrame) -> bool:
        """Whether an earlier run left just this frame in the spool."""
        with self._changed:
            return self._spool is not None and self._spool.holds(frame)

    def get(self) -> CapturedFrame | None:
        """The oldest frame, waiting for one, to be followed by `done` or `put_back`.

        None when the queue is closed and empty, or what is left can only be left in the spool.
        """
        with self._changed:
            while self._in_flight is None:
                taken = self._spool.take() if self._spool else None
                if taken is not None:
                    self._in_flight = _InFlight(taken[1], taken[0], time.monotonic())
                elif self._spool:  # not empty: it cannot be read now, and is older than what is in memory
                    if self._closed:
                        return None
                    self._changed.wait(_POLL_SECONDS)
                elif self._memory:
                    self._in_flight = _InFlight(self._memory.popleft(), None, time.monotonic())
                elif self._closed:
                    return None
                else:
                    self._changed.wait()
            self._changed.notify_all()
            return self._in_flight.frame

    def done(self) -> None:
        """The store has answered: the frame in flight is stored, or lost for a reason that was counted."""
        with self._changed:
            if self._spool is not None and self._in_flight is not None and self._in_flight.number is not None:
                self._spool.remove(self._in_flight.number)
            self._in_flight = None
            self._away = False
            self._changed.notify_all()

    def put_back(self) -> None:
        """The frame in flight is the oldest one that waits again."""
        with self._changed:
            self._away = True
            self._move_to_disk()
            if self._in_flight is None:
                return
            if self._spool is not None and self._in_flight.number is not None:
                self._spool.put_back(self._in_flight.number)
            else:
                self._memory.appendleft(self._in_flight.frame)
            self._in_flight = None

    def store_is_away(self) -> None:
        """Until `done`, frames go to disk, those in memory and in flight first."""
        with self._changed:
            self._away = True
            self._move_to_disk()
            self._changed.notify_all()

    def stuck_seconds(self) -> float:
        """For how long the frame in flight has been there."""
        with self._changed:
            return 0.0 if self._in_flight is None else time.monotonic() - self._in_flight.since

    def leave(self) -> tuple[int, int]:
        """Nobody gets frames any more: how many wait in the spool, and how many are lost because they do not fit there."""
        with self._changed:
            self._move_to_disk()
            lost = len(self._memory)
            waiting = len(self._spool) if self._spool else 0
            if self._in_flight is not None:
                waiting, lost = (waiting, lost + 1) if self._in_flight.number is None else (waiting + 1, lost)
            self._memory.clear()
            return waiting, lost

    def release(self) -> None:
        """Capture is told to stop: what is still put is taken, though the queue be full."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be put, what is there can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Frames in memory, the one in flight not among them."""
        with self._changed:
            return len(self._memory)

    def _is_full(self, frame: CapturedFrame) -> bool:
        full = len(self._memory) >= self._capacity
        if self._should_spool(frame, full):
            self._move_to_disk()
        return len(self._memory) >= self._capacity

    def _should_spool(self, frame: CapturedFrame, full: bool) -> bool:
        if self._spool is None:
            return False
        if self._away or (self._in_flight is not None and time.monotonic() - self._in_flight.since > STUCK_SECONDS):
            return True
        if self._policy == "wait" and not frame.live:  # a recording can wait where it is while the store is only slow
            return False
        return full or len(self._spool) > 0

    def _move_to_disk(self) -> None:
        """What is in memory, the oldest first, as far as the disk takes it."""
        if self._spool is None:
            return
        if self._in_flight is not None and self._in_flight.number is None:
            self._in_flight.number = self._spool.hold(self._in_flight.frame)
            if self._in_flight.number is None:
                return
        while self._memory and self._spool.put(self._memory[0]):
            self._memory.popleft()
