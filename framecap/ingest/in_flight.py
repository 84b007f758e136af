"""The messages that are this worker's for now, and the frames they tell of: received messages in, frames to do out. No I/O.

A frame is told of by one message or more, a message tells of one frame or more; a message is finished when all of its
frames are done. There are never more messages here than the pipeline has room for.
"""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from framecap.errors import QueueUnavailable
from framecap.ingest.base import Backlog
from framecap.ingest.sqs import BATCH, ReceivedMessage

_ASKED_SECONDS = 1.0  # after somebody asked for a frame, frames are still wanted for so long
_FIRST_SECONDS, _MAX_SECONDS = 0.5, 30.0  # between two polls of a queue that fails
_GATHER_SECONDS = 0.2  # how long a finished message waits for others to be deleted with
_REMEMBERED = 10_000  # frames that were done, for looks that began before


@dataclass(eq=False, slots=True)
class InFlightMessage:
    """One message. `looking`: nobody has said yet which of its frames are to be done. `returning`: it goes back."""

    received: ReceivedMessage
    frames: set[InFlightFrame] = field(default_factory=set)
    looking: bool = True
    returning: bool = False

    @property
    def in_flight(self) -> bool:
        return any(frame.in_flight for frame in self.frames)


@dataclass(eq=False, slots=True)
class InFlightFrame:
    """One frame to do. `receives`: the most of any message that told of it, when it became known here."""

    key: str
    replaces: bytes | None
    receives: int
    sent: float
    messages: set[InFlightMessage] = field(default_factory=set)
    attempts: int = 0
    in_flight: bool = False
    dropped: bool = False  # it may still stand in a list of what is ready
    etag: str | None = None  # as it was last looked at,
    since: float = 0.0  # and since when it is so


@dataclass(frozen=True, slots=True)
class QueueActions:
    """What the queue is to be told next: messages to delete, messages to give back."""

    finished: list[InFlightMessage]
    returned: list[InFlightMessage]


class InFlightMessages:
    """Safe to use from several threads. Times are monotonic seconds, but for `InFlightMessage.received.sent`."""

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        lock = threading.RLock()
        self._leasable, self._wanted, self._tellable = (threading.Condition(lock) for _ in range(3))
        self._messages: dict[str, InFlightMessage] = {}
        self._frames: dict[str, InFlightFrame] = {}
        self._done: OrderedDict[str, float] = OrderedDict()  # when, the last one last
        self._ready: deque[InFlightFrame] = deque()
        self._waiting: list[tuple[float, int, InFlightFrame]] = []
        self._number = count()
        self._finished: deque[InFlightMessage] = deque()
        self._returned: deque[InFlightMessage] = deque()
        self._finished_since = 0.0
        self._polls = 0
        self._asked = -_ASKED_SECONDS
        self._outage: QueueUnavailable | None = None
        self._failures = 0
        self._failed_at = self._retry_at = -math.inf
        self._last_activity = clock()
        self._empty_poll_began: float | None = None
        self._stopped = self._ended = False

    # Receiving

    def want(self) -> tuple[int, bool] | None:
        """Wait until messages are wanted: how many at most, and whether the queue may be expected to serve. None: no more.

        Each call that gave a number is followed by `polled` or `failed`.
        """
        with self._wanted:
            while not self._stopped:
                if self._is_wanted():
                    self._polls += 1
                    if self._outage is not None:
                        self._retry_at = self._clock() + _MAX_SECONDS  # the others wait for this one to find out
                    return min(BATCH, self._capacity), self._outage is None
                self._wanted.wait()  # whoever asks for a frame wakes us
        return None

    def _is_wanted(self) -> bool:
        """Somebody asks, and there is room for a whole batch, so that calls are few."""
        now = self._clock()
        if now - self._asked >= _ASKED_SECONDS or (self._outage is not None and now < self._retry_at):
            return False
        return self._capacity - len(self._messages) - BATCH * self._polls >= min(BATCH, self._capacity)

    def polled(self, began: float, is_long: bool, received: Sequence[ReceivedMessage]) -> list[InFlightMessage]:
        """A poll brought these; those that are new here, for `open` to be called with each."""
        with self._wanted:
            self._polls -= 1
            if began >= self._failed_at:  # what began before says nothing of now
                self._outage, self._failures = None, 0
            if not received:
                if is_long:
                    self._empty_poll_began = began
                return []
            self._last_activity = self._clock()
            new = []
            for one in received:
                known = self._messages.get(one.id)
                if known is not None:
                    known.received = one  # it came back before we were ready: only its newest receipt counts
                else:
                    new.append(self._messages.setdefault(one.id, InFlightMessage(one)))
            return new

    def failed(self, error: QueueUnavailable) -> bool:
        """A poll failed: the next one comes later. Whether this is news."""
        with self._wanted:
            self._polls -= 1
            self._failures += 1
            most = min(_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10), _MAX_SECONDS)
            self._failed_at = self._clock()
            self._retry_at = self._failed_at + most * random.uniform(0.5, 1.0)  # noqa: S311 - a fleet must not come back at once
            is_news, self._outage = self._outage is None, error
            return is_news

    @property
    def outage(self) -> QueueUnavailable | None:
        """Why the last poll failed."""
        return self._outage

    def open(self, message: InFlightMessage, frames: Iterable[tuple[str, bytes | None]], looked: float = math.inf) -> None:
        """These frames (key, torn sidecar) of a message are to be done; none: it is finished.

        Whether they have a sidecar was looked at from `looked` on: what was done here since has one by now.
        """
        with self._leasable:
            message.looking = False
            if self._stopped:
                self._give_back(message)
                return
            for key, replaces in frames:
                if self._done.get(key, -math.inf) >= looked:
                    continue
                frame = self._frames.get(key)
                if frame is None:
                    frame = self._frames[key] = InFlightFrame(key, replaces, message.received.count, message.received.sent)
                    self._ready.append(frame)
                frame.messages.add(message)
                message.frames.add(frame)
            if not message.frames:
                self._finish(message)
            self._leasable.notify()

    # Leasing

    def take(self, timeout: float) -> InFlightFrame | None:
        """The next frame, leased, or None after `timeout` seconds or the stop."""
        deadline = self._clock() + timeout
        with self._leasable:
            self._asked = self._clock()
            self._wanted.notify_all()
            while not self._stopped:
                now = self._clock()
                while self._waiting and self._waiting[0][0] <= now:
                    self._ready.append(heapq.heappop(self._waiting)[2])
                while self._ready:
                    frame = self._ready.popleft()
                    if not frame.dropped:
                        frame.in_flight = True
                        return frame
                if now >= deadline:
                    return None
                until = min(deadline, self._waiting[0][0]) if self._waiting else deadline
                self._leasable.wait(until - now)
        return None

    def done(self, frame: InFlightFrame) -> None:
        with self._tellable:
            self._forget_frame(frame)
            self._done[frame.key] = self._clock()
            self._done.move_to_end(frame.key)
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
            for message in frame.messages:
                message.frames.discard(frame)
                if not message.frames and not message.looking:
                    self._finish(message)
                elif self._stopped and not message.in_flight:
                    self._give_back(message)

    def release(self, frame: InFlightFrame, delay: float, counts: bool) -> None:
        """It is to be done again, here after `delay` seconds; after the stop it goes back to the queue."""
        with self._leasable:
            frame.in_flight = False
            frame.attempts += counts
            self._last_activity = self._clock()
            if self._stopped or not frame.messages:
                self._abandon(frame)
            else:
                heapq.heappush(self._waiting, (self._clock() + delay, next(self._number), frame))
                self._leasable.notify()

    def _finish(self, message: InFlightMessage) -> None:
        if not self._finished:
            self._finished_since = self._clock()
        self._finished.append(message)
        self._tellable.notify_all()

    def _forget_frame(self, frame: InFlightFrame) -> None:
        frame.in_flight = False
        frame.dropped = True
        self._last_activity = self._clock()
        self._frames.pop(frame.key, None)

    def _abandon(self, frame: InFlightFrame) -> None:
        """Not done here: its messages go back when none of their frames is leased."""
        self._forget_frame(frame)
        for message in tuple(frame.messages):
            if not message.looking and not message.in_flight:
                self._give_back(message)

    def _give_back(self, message: InFlightMessage) -> None:
        if not message.returning:
            message.returning = True
            self._returned.append(message)
            self._tellable.notify_all()

    # Telling the queue

    def due_actions(self) -> QueueActions | None:
        """Wait until there is something to tell the queue; None when nothing will be any more.

        What is in the answer is `forget`ten or told `retry_later`.
        """
        with self._tellable:
            while not self._ended:
                wait = self._finished_since + _GATHER_SECONDS - self._clock() if self._finished else None
                if self._returned or len(self._finished) >= BATCH or (wait is not None and (wait <= 0 or self._stopped)):
                    return QueueActions(_pop(self._finished), _pop(self._returned))
                self._tellable.wait(wait)
        return None

    def retry_later(self, actions: QueueActions) -> None:
        with self._tellable:
            if actions.finished and not self._finished:
                self._finished_since = self._clock()
            self._finished.extend(actions.finished)
            self._returned.extend(actions.returned)

    def forget(self, messages: Iterable[InFlightMessage]) -> None:
        """They are not ours any more: deleted, given back, or lost. A frame that is told of by no other goes, too."""
        with self._wanted:
            for message in messages:
                self._messages.pop(message.received.id, None)
                for frame in message.frames:
                    frame.messages.discard(message)
                    if not frame.messages and not frame.in_flight:
                        self._forget_frame(frame)
            self._wanted.notify_all()
            self._tellable.notify_all()

    def ours(self) -> list[InFlightMessage]:
        """All messages that must stay ours."""
        with self._wanted:
            return [message for message in self._messages.values() if not message.returning]

    # The end, and what is seen from outside

    def stop(self) -> None:
        """No more is received or given out; what is in no hand goes back."""
        with self._wanted:
            self._stopped = True
            for frame in [frame for frame in self._frames.values() if not frame.in_flight]:
                self._abandon(frame)
            for condition in (self._wanted, self._leasable, self._tellable):
                condition.notify_all()

    def wait_for_actions(self, timeout: float) -> bool:
        """Whether within `timeout` the queue knew of all that is finished or goes back."""

        def is_reported() -> bool:
            return all(message.in_flight and not message.looking for message in self._messages.values())

        with self._tellable:
            return self._tellable.wait_for(is_reported, timeout)

    def end(self) -> None:
        """Nothing is told any more."""
        with self._tellable:
            self._ended = True
            self._tellable.notify_all()

    def exhausted(self) -> bool:
        """Whether a poll that began after the last thing happened brought nothing, and nothing is to be done."""
        with self._wanted:
            began = self._empty_poll_began
            looking = any(message.looking for message in self._messages.values())
            return not self._frames and not looking and began is not None and began > self._last_activity

    def backlog(self) -> Backlog:
        with self._wanted:
            frames = self._frames.values()
            oldest = min((message.received.sent for message in self._messages.values() if message.frames), default=None)
            return Backlog(len(frames), sum(frame.in_flight for frame in frames), oldest)


def _pop(messages: deque[InFlightMessage]) -> list[InFlightMessage]:
    popped = list(islice(messages, BATCH))
    for _ in popped:
        messages.popleft()
    return popped
