"""An action and its part of the outbox in; a thread that delivers, tries again, and gives up after a stated time, out.

Each action has a thread of its own: a dead endpoint delays its own events and nobody else's. When an endpoint is away all of
its events wait, and the oldest is tried again after growing pauses; an event that alone is refused lets the others pass.
"""

from __future__ import annotations

import logging
import random
import threading
import time

from framecap.config import EventsConfig
from framecap.errors import EndpointUnavailable, EventRefused, StateUnavailable
from framecap.events.action import Action
from framecap.events.state import EventState, WaitingEvent
from framecap.telemetry import events, events_oldest_seconds, events_waiting

logger = logging.getLogger(__name__)

_OUTCOMES = ("fired", "delivered", "retried", "dead", "dropped")

_POLL_SECONDS = 5.0  # between two looks at what is to be given up
_ABORT_SECONDS = 1.0  # for what was ended to be written down
_GIVEN_UP = "not tried: too late (events.give_up_seconds) or too many (events.max_waiting)"


class Delivery:
    """Delivers what waits for one action."""

    def __init__(self, name: str, rule: str, action: Action, state: EventState, config: EventsConfig) -> None:
        self.name = name
        self._rule = rule
        self._action = action
        self._state = state
        self._config = config
        self._woken = threading.Event()
        self._stopping = False
        self._delivered: int | None = None  # the seq of what was delivered, until that is written down
        self._failures = 0  # of the endpoint, in a row
        self._not_before = 0.0  # by the wall clock, as everything in the state
        self._next_look = 0.0
        for outcome in _OUTCOMES:
            events.labels(rule, outcome)  # a rate needs a series that was 0 before
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something new waits."""
        self._woken.set()

    def stop(self) -> None:
        """End after the delivery that is in flight."""
        self._stopping = True
        self._woken.set()

    def join(self, timeout: float) -> None:
        """Wait for the end, for so many seconds; then what is in flight is ended, to be delivered again next time."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._action.abort()
            self._thread.join(_ABORT_SECONDS)

    def idle(self) -> bool:
        """Whether nothing waits that may be tried now."""
        waiting = self._state.next_due(self.name)
        return waiting is None or self._seconds_until(waiting, time.time()) > 0

    def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                pause = self._step()
            except StateUnavailable as error:
                logger.error("%s: %s", self.name, error)  # noqa: TRY400 - the message is all that helps
                pause = _POLL_SECONDS
            if pause > 0:
                self._woken.wait(min(pause, _POLL_SECONDS))
        self._action.close()

    def _step(self) -> float:
        """Deliver one event if one is due; how many seconds until the next may be."""
        self._write_down()
        now = time.time()
        if time.monotonic() >= self._next_look:
            self._give_up(now)
            self._next_look = time.monotonic() + _POLL_SECONDS
        waiting = self._state.next_due(self.name)
        if waiting is None:
            return _POLL_SECONDS
        pause = self._seconds_until(waiting, now)
        if pause <= 0:
            self._deliver(waiting)
        return pause

    def _seconds_until(self, waiting: WaitingEvent, now: float) -> float:
        """Until the event may be delivered; a time beyond every pause was written by a clock that was ahead: it is due."""
        due = 0.0 if waiting.due > now + self._config.retry_max_seconds else waiting.due - now
        return max(due, self._not_before - time.monotonic())

    def _deliver(self, waiting: WaitingEvent) -> None:
        try:
            self._action.deliver(waiting.event)
        except EndpointUnavailable as error:
            self._failures += 1
            pause = self._pause(self._failures)
            self._not_before = time.monotonic() + pause
            self._retry_later(waiting, waiting.due, error)
            if self._failures == 1:
                logger.warning("%s: %s: its events wait and are tried again", self.name, error)
            return
        except EventRefused as error:
            self._retry_later(waiting, time.time() + self._pause(waiting.attempts + 1), error)
            if waiting.attempts == 0:
                logger.warning("%s: event %s: %s: it is tried again", self.name, waiting.event.id, error)
        except Exception as error:
            self._retry_later(waiting, time.time() + self._pause(waiting.attempts + 1), error)
            logger.exception("%s: event %s: this should not have happened", self.name, waiting.event.id)
        else:
            self._delivered = waiting.seq
            events.labels(self._rule, "delivered").inc()
        if self._failures:
            logger.info("%s: %s answers again", self.name, self._action.target)
        self._failures, self._not_before = 0, 0.0
        self._write_down()

    def _write_down(self) -> None:
        """What was delivered waits no more. Where the state cannot be written (its disk is full), nothing else is delivered
        before it can: the same event would go out again and again."""
        if self._delivered is not None:
            self._state.delivered(self._delivered)
            self._delivered = None

    def _retry_later(self, waiting: WaitingEvent, due: float, error: Exception) -> None:
        self._state.retry_later(waiting.seq, due, str(error))
        events.labels(self._rule, "retried").inc()

    def _pause(self, failures: int) -> float:
        """Twice as long after each failure, and never the same for two of us."""
        longest = min(self._config.retry_min_seconds * 2.0 ** min(failures - 1, 60), self._config.retry_max_seconds)
        return longest * random.uniform(0.75, 1.0)  # noqa: S311 - no secret

    def _give_up(self, now: float) -> None:
        name, config = self.name, self._config
        late = self._state.bury(name, now - config.give_up_seconds, config.max_waiting, now, _GIVEN_UP)
        forgotten = self._state.forget_dead(name, config.max_dead)
        if late:
            events.labels(self._rule, "dead").inc(late)
            logger.error("%s: %d events were given up (framecap events --dead lists them)", name, late)
        if forgotten:
            events.labels(self._rule, "dropped").inc(forgotten)
            logger.error("%s: %d dead letters were deleted: events.max_dead", name, forgotten)
        count, oldest = self._state.count(name)
        events_waiting.labels(name).set(count)
        events_oldest_seconds.labels(name).set(0.0 if oldest is None else max(0.0, now - oldest))
