"""A queue of S3's notifications (SQS) and a store in, leases on the frames they tell of out: so a fleet shares the work.

Nothing is listed here. Threads receive while the worker has room, keep what is held from becoming another worker's, and
delete what is done. What events miss, `framecap reconcile` puts on the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from framecap.config import IngestConfig
from framecap.errors import KeyRefused, MessageUnreadable, PoisonFrame, QueueUnavailable
from framecap.ingest.base import Backlog
from framecap.ingest.in_flight import InFlightFrame, InFlightMessage, InFlightMessages, QueueActions
from framecap.ingest.s3_events import frame_keys
from framecap.ingest.sqs import BATCH, SLOW_POLL_SECONDS, Redrive, SqsQueue
from framecap.sidecars.sidecar import is_torn
from framecap.stores.base import Entry, Store
from framecap.stores.s3_client import S3Address
from framecap.telemetry import health, pending_frames

logger = logging.getLogger(__name__)

_RECEIVERS = 3  # long polls at a time: each brings ten messages at most
_LOOKERS = 10  # sidecars looked for at a time
_COUNT_SECONDS = 10.0  # how old a count of the waiting messages may be
_TELL_SECONDS = 5.0  # at the end, for what the queue is yet to be told
_FIRST_BACK_OFF, _MAX_BACK_OFF = 1.0, 30.0
_REMEMBERED = 10_000  # unreadable messages that were logged
_MIN_RECEIVES = 2  # a frame is not poison the first time, whatever the limit


@dataclass(frozen=True, slots=True)
class _Pending:
    """A frame that is to be done, with its torn sidecar if it has one."""

    replaces: bytes | None


class QueueLease:
    """A frame leased by a worker."""

    replaces: bytes | None

    def __init__(self, ingest: QueueIngest, frame: InFlightFrame, terminal_error: PoisonFrame | None) -> None:
        self._ingest = ingest
        self._frame = frame
        self.entry = Entry(frame.key, 0, frame.sent, "")  # a message may be older than the object
        self.attempt = frame.receives if terminal_error else frame.attempts + 1
        self.replaces = frame.replaces
        self.terminal_error = terminal_error
        self._ended = False

    def settles_in(self) -> float:
        return self._ingest.settles_in(self._frame)

    def done(self) -> None:
        self._end()
        self._ingest.in_flight_messages.done(self._frame)

    def release(self, delay: float, counts: bool = True) -> None:
        """Given back it stays in this worker, renewed: to receive it again would bring it nearer to being poison."""
        self._end()
        self._ingest.in_flight_messages.release(self._frame, delay, counts)

    def _end(self) -> None:
        if self._ended:
            raise RuntimeError(f"the lease on {self.entry.key!a} has ended already")
        self._ended = True


class QueueIngest:
    """Leases frames of `address`, which is where the store's frames are; at most `capacity` messages are held."""

    def __init__(self, config: IngestConfig, queue: SqsQueue, address: S3Address, store: Store, capacity: int) -> None:
        self._visibility = config.visibility_seconds
        self._settle = config.settle_seconds
        self._queue = queue
        self._address = address
        self._store = store
        self.in_flight_messages = InFlightMessages(capacity)
        self._redrive: Redrive | None = None
        self._redrive_known = False
        self._unreadable: OrderedDict[str, None] = OrderedDict()
        self._elsewhere = 0  # messages that wait in the queue, as last counted
        self._ending = threading.Event()
        self._seen = ExitStack()
        bodies: list[tuple[str, Callable[[], None]]] = [("renew", self._renew_for_ever), ("tell", self._tell_for_ever)]
        bodies += [("count", self._count_for_ever)] + [("receive", self._receive_for_ever)] * _RECEIVERS
        self._threads = [threading.Thread(target=body, name=f"queue {name}", daemon=True) for name, body in bodies]

    def start(self) -> None:
        """Raises ConfigError for a queue that waiting will not bring; one that does not answer is waited for."""
        try:
            self._know(self._queue.check())
        except QueueUnavailable as error:
            logger.warning("starting without the queue, waiting for it: %s", error)
        self._seen.enter_context(health.watching(ready=[self._problem]))
        for thread in self._threads:
            thread.start()

    def lease(self, timeout: float) -> QueueLease | None:
        frame = self.in_flight_messages.take(timeout)
        return None if frame is None else QueueLease(self, frame, self._verdict(frame))

    def backlog(self) -> Backlog:
        backlog = self.in_flight_messages.backlog()
        return Backlog(self._elsewhere + backlog.pending, backlog.in_flight, backlog.oldest)

    def exhausted(self) -> bool:
        return self.in_flight_messages.exhausted()

    def stop(self) -> None:
        self.in_flight_messages.stop()

    def close(self) -> None:
        self._seen.close()
        self.in_flight_messages.stop()
        if self._threads[0].is_alive() and not self.in_flight_messages.wait_for_actions(_TELL_SECONDS):
            logger.warning("the queue could not be told of all that is done: these messages come again and are deleted then")
        self.in_flight_messages.end()
        self._ending.set()

    def settles_in(self, frame: InFlightFrame) -> float:
        """See Lease."""
        entry = self._store.stat(frame.key)
        now = time.monotonic()
        if frame.etag != entry.etag:
            frame.etag, frame.since = entry.etag, now
        return max(0.0, frame.since + self._settle - now)

    # Poison

    def _know(self, redrive: Redrive | None) -> None:
        self._redrive, self._redrive_known = redrive, True
        if redrive is None:
            logger.warning(
                "the queue has no redrive policy: unreadable messages come again for days, and a frame that kills its "
                "workers is never given up; give it a dead-letter queue"
            )
        elif redrive.limit <= _MIN_RECEIVES:
            logger.warning(
                "the queue's maxReceiveCount is %d: a frame whose worker died may get no sidecar; make it 10",
                redrive.limit,
            )

    def _verdict(self, frame: InFlightFrame) -> PoisonFrame | None:
        """A frame near the limit gets its sidecar while a message of it is still to be had, and nobody touches it."""
        if self._redrive is None or frame.receives < max(self._redrive.limit - 1, _MIN_RECEIVES):
            return None
        return PoisonFrame(
            f"received {frame.receives} times and never finished, of {self._redrive.limit} before the dead-letter queue: "
            "its workers died or were stopped each time; look into their logs, then: framecap retry --kind poison"
        )

    # Threads: receive

    def _receive_for_ever(self) -> None:
        while (wanted := self.in_flight_messages.want()) is not None:
            most, is_well = wanted
            began = time.monotonic()
            try:
                if not self._redrive_known:
                    self._know(self._queue.redrive())
                received = self._queue.receive(most, SLOW_POLL_SECONDS if is_well else 0, self._visibility)
            except Exception as error:
                self._poll_failed(error)
            else:
                if not is_well:
                    logger.info("the queue answers again")
                messages = self.in_flight_messages.polled(began, is_well, received)
                try:
                    self._take_in(messages)
                except Exception:  # no thread can be started, say: a thread of ours must not end of it
                    logger.exception("messages could not be looked into: they come again")
                    self.in_flight_messages.forget(messages)
                    self._ending.wait(_FIRST_BACK_OFF)

    def _poll_failed(self, error: Exception) -> None:
        outage = error if isinstance(error, QueueUnavailable) else QueueUnavailable(f"{type(error).__name__} of a poll")
        if self.in_flight_messages.failed(outage):
            unforeseen = None if outage is error else error
            logger.warning("no frames from the queue, trying again until it answers: %s", outage, exc_info=unforeseen)

    def _problem(self) -> str | None:
        outage = self.in_flight_messages.outage
        return None if outage is None else f"no frames from the queue, trying again: {outage}"

    def _take_in(self, messages: Sequence[InFlightMessage]) -> None:
        actions = {message: self._keys(message) for message in messages}
        keys = list(dict.fromkeys(key for found in actions.values() for key in found or ()))
        began = time.monotonic()
        pending = self._look_at(keys)
        for message, found in actions.items():
            if found is None:
                self.in_flight_messages.forget([message])
            else:
                looked = ((key, pending[key]) for key in found)
                self.in_flight_messages.open(
                    message, [(key, state.replaces) for key, state in looked if state is not None], began
                )

    def _keys(self, message: InFlightMessage) -> tuple[str, ...] | None:
        """None for a message that nobody can read: it is left to the redrive policy."""
        received = message.received
        try:
            return frame_keys(received.body, self._address)
        except MessageUnreadable as error:
            if received.id not in self._unreadable:
                self._unreadable[received.id] = None
                while len(self._unreadable) > _REMEMBERED:
                    self._unreadable.popitem(last=False)
                logger.warning("message %s is left for the dead-letter queue: %s", received.id, error)
            return None

    def _look_at(self, keys: Sequence[str]) -> dict[str, _Pending | None]:
        """Several at a time, in threads that no store that hangs can make this process wait for at its end."""
        left = deque(keys)
        found: dict[str, _Pending | None] = {}

        def look() -> None:
            while left:
                try:
                    key = left.popleft()
                except IndexError:
                    return
                found[key] = self._look(key)

        threads = [threading.Thread(target=look, name="queue look", daemon=True) for _ in keys[:_LOOKERS]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def _look(self, key: str) -> _Pending | None:
        """None when the frame has its sidecar. What is wrong with the store is the worker's to find out."""
        try:
            there = self._store.read_sidecar(key)
        except KeyRefused:
            return None
        except Exception as error:
            logger.debug("%s: its sidecar could not be looked for: %s", key, error)
            return _Pending(None)
        if not there:
            return _Pending(None)
        return _Pending(there) if is_torn(there) else None

    # Threads: renew, tell, count

    def _renew_for_ever(self) -> None:
        """Each message is renewed when a third of its time has gone, so that two renewals may fail."""
        period = self._visibility / 3
        wait = period
        while not self._ending.wait(wait):
            began = time.monotonic()
            wait = period
            messages = self.in_flight_messages.ours()
            try:
                for start in range(0, len(messages), BATCH):
                    if not self._renew(messages[start : start + BATCH]):
                        wait = period / 4
            except QueueUnavailable as error:
                logger.warning("messages could not be renewed, others may do their frames again: %s", error)
                wait = period / 4
            wait = max(0.0, wait - (time.monotonic() - began))

    def _renew(self, messages: Sequence[InFlightMessage]) -> bool:
        retry_later, lost = self._queue.renew([message.received.receipt for message in messages], self._visibility)
        self.in_flight_messages.forget(messages[index] for index in lost)
        return not retry_later

    def _tell_for_ever(self) -> None:
        back_off = 0.0
        while (actions := self.in_flight_messages.due_actions()) is not None:
            try:
                left = self._tell(actions)
            except QueueUnavailable as error:
                if not back_off:
                    logger.warning("the queue cannot be told what is done, trying again: %s", error)
                self.in_flight_messages.retry_later(actions)
                back_off = min(max(2 * back_off, _FIRST_BACK_OFF), _MAX_BACK_OFF)
                self._ending.wait(back_off)
            else:
                back_off = 0.0
                if left.finished or left.returned:
                    self.in_flight_messages.retry_later(left)
                    self._ending.wait(_FIRST_BACK_OFF)

    def _tell(self, actions: QueueActions) -> QueueActions:
        """What is to be told again."""
        if actions.finished:
            retry_later = {
                actions.finished[index] for index in self._queue.delete([m.received.receipt for m in actions.finished])
            }
            self.in_flight_messages.forget(message for message in actions.finished if message not in retry_later)
            actions = QueueActions([message for message in actions.finished if message in retry_later], actions.returned)
        if actions.returned:
            failed, _ = self._queue.renew([message.received.receipt for message in actions.returned], 0)
            kept = {actions.returned[index] for index in failed}
            self.in_flight_messages.forget(message for message in actions.returned if message not in kept)
            actions = QueueActions(actions.finished, [message for message in actions.returned if message in kept])
        return actions

    def _count_for_ever(self) -> None:
        while True:
            try:
                waiting = self._queue.waiting()
                self._elsewhere = waiting.visible + waiting.delayed
            except Exception as error:  # whoever receives says more
                logger.debug("the queue's messages could not be counted: %s", error)
            pending_frames.set(self.backlog().pending)
            if self._ending.wait(_COUNT_SECONDS):
                return
