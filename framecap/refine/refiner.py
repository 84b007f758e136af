"""The refiner: follows committed sidecars, and lets threads take a second look at the frames that deserve it.

    follow → select → wait (durable) → prepare → charge (durable) → request → replace the sidecar

It is a process of its own: whatever happens to the second captioner, first captions are not delayed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from framecap.captioning.caption import Caption, Captioner
from framecap.config import Config, RefineBudgetConfig, RefineConfig
from framecap.errors import (
    CaptionerUnavailable,
    DecodeError,
    FrameGone,
    FrameUnreadable,
    KeyRefused,
    ModelError,
    StateUnavailable,
    StoreUnavailable,
)
from framecap.ingest.shard import Shard
from framecap.refine.second_look import Outcome, Prepared, SecondLook
from framecap.refine.selection import Selection
from framecap.refine.state import Candidate, RefineState
from framecap.runtime.stop import StopRequest, WaitableStop
from framecap.sidecars.follower import Follower
from framecap.sidecars.reader import FoundSidecar
from framecap.stores.base import Store
from framecap.telemetry import Heartbeat, health, refine_budget_left, refine_waiting, refined
from framecap.worker.store_backoff import StoreBackoff

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_HANGS_AFTER_SECONDS = 600.0  # over one poll of a store
_RETRY_SECONDS = 5.0  # before a failed frame is tried again; twice as long each time
_BUDGET_POLL_SECONDS = 0.5  # while nothing waits or the budget is spent


@dataclass(frozen=True, slots=True)
class RefineSummary:
    """What a refiner did: frames by outcome, and those that still wait."""

    outcomes: dict[str, int]
    waiting: int


def share_of_budget(budget: RefineBudgetConfig, shard: str | None) -> RefineBudgetConfig:
    """Return a shard's part of the budget: with `2/8` an eighth of each limit, and one request at least."""
    if shard is None:
        return budget
    count = Shard.parse(shard).count
    limits = {name: None if limit is None else max(1, limit // count) for name, limit in budget.model_dump().items()}
    limits["per_camera_per_minute"] = budget.per_camera_per_minute  # a camera belongs to one shard
    return budget.model_copy(update=limits)


class Refiner:
    """Call `run` once."""

    def __init__(self, config: Config, store: Store, state: RefineState, captioner: Captioner) -> None:
        """`captioner` is closed at the end of `run`."""
        refine = config.refine
        self._config: RefineConfig = refine
        self._grace_seconds = config.worker.grace_seconds
        self._state = state
        self._selection = Selection(refine.when)
        self._shard = None if config.ingest.shard is None else Shard.parse(config.ingest.shard)
        self._follower = Follower(store, state, config.ingest)
        self._poll_seconds = config.ingest.scan_seconds
        threads = _concurrency(refine)
        self._second_look = SecondLook(store, captioner, config.worker, decoders=min(threads, 2))
        self._backoff = StoreBackoff()
        self._heartbeat = Heartbeat("following", _HANGS_AFTER_SECONDS)
        self._store_error: str | None = None
        self._max_age = refine.max_age_seconds
        self._began = time.time()
        self._ending = threading.Event()
        self._settled = threading.Event()  # the last poll has come to its end: the newest frame is known
        self._outcomes: dict[str, int] = {}
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._look, name=f"second look {n}", daemon=True) for n in range(threads)]

    def run(self, stop: WaitableStop, finish: StopRequest, *, backlog_seconds: float = 0.0) -> RefineSummary:
        """Follow and refine until `stop`, or until no frame waits once `finish` is set.

        Args:
            stop: ends the run; requests in flight are finished within worker.grace_seconds.
            finish: nothing more is committed: look at what is there, and return when nothing waits.
            backlog_seconds: also consider what was committed so long before the first start.
        """
        start = time.time() - backlog_seconds
        self._max_age = max(self._max_age, backlog_seconds)
        self._began = self._state.begin(start)
        if backlog_seconds and self._began > start:
            self._state.rewind(start)
            self._began = start
        with self._running():
            next_poll, all_seen = 0.0, False
            while not stop.is_set():
                self._heartbeat.beat()
                if time.monotonic() >= next_poll:
                    finishing = finish.is_set()
                    all_seen = self._poll(stop) and finishing
                    next_poll = time.monotonic() + self._poll_seconds
                self._drop_old()
                if all_seen and self._waiting() == 0:
                    break
                stop.wait(min(_POLL_SECONDS, self._poll_seconds))
        return RefineSummary(dict(self._outcomes), self._waiting())

    @contextmanager
    def _running(self) -> Iterator[None]:
        refine_waiting.set_function(self._waiting)
        refine_budget_left.set_function(lambda: _as_gauge(self._state.left()))
        for thread in self._threads:
            thread.start()
        try:
            with health.watching([self._heartbeat.problem], [self._backoff.problem, lambda: self._store_error]):
                yield
        finally:
            self._ending.set()
            deadline = time.monotonic() + self._grace_seconds
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            refine_waiting.set_function(float)
            refine_budget_left.set_function(float)
            self._second_look.close()

    # Following

    def _poll(self, stop: WaitableStop) -> bool:
        """Look once at what was committed; whether that came to its end."""
        self._settled.clear()
        try:
            for found in self._follower.poll(self._heartbeat.beat):
                if stop.is_set():
                    return False
                self._consider(found)
        except (StoreUnavailable, StateUnavailable) as error:
            if self._store_error is None:
                logger.warning("store temporarily unavailable, retrying: %s", error)
            self._store_error = str(error)
            return False
        finally:
            self._settled.set()
        self._store_error = None
        return True

    def _consider(self, found: FoundSidecar) -> None:
        with self._state.transaction():
            reason = self._reason(found)
            if reason is not None:
                one = found.sidecar.frame
                candidate = Candidate(
                    found.key, one.camera, one.captured_at.timestamp(), _new_at(found), found.id, reason, 0
                )
                self._count(Outcome.DROPPED, self._state.add_candidate(candidate))
            self._follower.done(found)

    def _reason(self, found: FoundSidecar) -> str | None:
        if found.modified < self._began or not (self._shard is None or self._shard.holds(found.key)):
            return None
        reason = self._selection.reason(found.sidecar, self._state.last_look)
        if reason is not None and time.time() - _new_at(found) > self._max_age:
            self._count(Outcome.TOO_OLD)
            return None
        return reason

    def _drop_old(self) -> None:
        self._count(Outcome.TOO_OLD, self._state.drop_older(time.time() - self._max_age))

    # Looking again

    def _look(self) -> None:
        while not self._ending.is_set():
            self._settled.wait(_POLL_SECONDS)
            if not self._settled.is_set():
                continue
            try:
                candidate = self._state.take() if self._backoff.wait == 0 else None
            except StateUnavailable as error:
                self._backoff.failed(error)
                candidate = None
            if candidate is None:
                self._ending.wait(_BUDGET_POLL_SECONDS)
            else:
                self._look_at(candidate)

    def _look_at(self, candidate: Candidate) -> None:
        try:
            outcome = self._refine(candidate)
            if outcome is not None:
                self._state.finish(candidate)
                self._count(outcome)
        except StateUnavailable as error:
            self._state.release(candidate)
            self._backoff.failed(error)
        except Exception:
            self._state.release(candidate)
            logger.exception("%s: unexpected error, the frame waits for another try", candidate.key)
            self._ending.wait(_RETRY_SECONDS)

    def _refine(self, candidate: Candidate) -> Outcome | None:
        """Take a second look; None where the frame waits again."""
        try:
            prepared = self._second_look.prepare(candidate)
            if prepared is None:
                return Outcome.SUPERSEDED
            caption = self._caption(candidate, prepared)
            return None if caption is None else self._second_look.commit(candidate, prepared, caption)
        except (FrameGone, KeyRefused):
            return Outcome.SUPERSEDED
        except (StoreUnavailable, CaptionerUnavailable) as error:
            self._state.retry(candidate, self._backoff.failed(error), failed=False)
            return None
        except (DecodeError, FrameUnreadable, ModelError) as error:
            return self._failed(candidate, error)

    def _caption(self, candidate: Candidate, prepared: Prepared) -> Caption | None:
        """Send one request, which is charged before; None where the budget does not allow it. Raises ModelErrors."""
        charge = self._state.charge(candidate.camera)
        if charge is None:
            self._state.retry(candidate, _BUDGET_POLL_SECONDS, failed=False)
            return None
        try:
            caption = self._second_look.caption(prepared)
        except CaptionerUnavailable:
            self._state.refund(charge)
            raise
        self._backoff.worked()
        return caption

    def _failed(self, candidate: Candidate, error: DecodeError | FrameUnreadable | ModelError) -> Outcome | None:
        if error.retryable and candidate.attempts + 1 < self._config.attempts:
            self._state.retry(candidate, _RETRY_SECONDS * 2.0**candidate.attempts, failed=True)
            return None
        logger.warning("%s: no second look, its first caption stays: %s", candidate.key, error)
        return Outcome.FAILED

    def _waiting(self) -> int:
        return self._state.waiting()

    def _count(self, outcome: Outcome, number: int = 1) -> None:
        if number:
            refined.labels(outcome.value).inc(number)
            with self._counting:
                self._outcomes[outcome.value] = self._outcomes.get(outcome.value, 0) + number


def _new_at(found: FoundSidecar) -> float:
    """When the frame was new (Unix seconds): a recording's when it was captioned, any other's when it was captured."""
    one = found.sidecar
    return (one.frame.captured_at if one.frame.position is None else one.committed_at).timestamp()


def _concurrency(config: RefineConfig) -> int:
    """How many requests the second captioner takes at a time."""
    captioner = config.captioner
    return captioner.openai.concurrency if captioner is not None and captioner.kind == "openai" else 1


def _as_gauge(left: int | None) -> float:
    return float("inf") if left is None else float(left)
