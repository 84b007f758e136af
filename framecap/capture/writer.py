"""One camera's frames from its queue into the store: each is stored exactly once, or counted with the reason why not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from framecap.capture.captured import CapturedFrame
from framecap.capture.overflow import FrameQueue
from framecap.capture.stats import CaptureStats
from framecap.errors import FrameGone, FrameUnreadable, OversizedFrame, StoreError, StoreUnavailable
from framecap.frames import make_key
from framecap.runtime.backoff import Backoff
from framecap.stores.base import PutResult, Store

RETRY_SECONDS = (0.5, 15.0)
GRACE_SECONDS = 10.0  # for what is still to be stored once capture has been told to stop
END_GRACE_SECONDS = 60.0  # how long a store may be away at the end of all sources before frames are left in the spool
READ_TRIES = 3

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class FrameWriter:
    """Runs in a thread of its own until the queue is closed and empty, or the rest is left in the spool.

    `halt`: capture is told to stop. `ended`: all sources have ended, nothing is waited for but the store.
    """

    def __init__(
        self,
        queue: FrameQueue,
        store: Store,
        stats: CaptureStats,
        halt: threading.Event,
        ended: threading.Event,
        on_frame: Callable[[str], None] | None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._stats = stats
        self._halt = halt
        self._ended = ended
        self._on_frame = on_frame
        self._backoff = Backoff(*RETRY_SECONDS)
        self._away = False
        self._may_not_read = False
        self._away_since: float | None = None
        self._deadline: float | None = None  # once capture has been told to stop

    def problem(self) -> str | None:
        """Why frames cannot be stored, while they cannot."""
        return f"camera {self._stats.camera}: the store is away, trying again until it is back" if self._away else None

    def run(self) -> None:
        while (frame := self._queue.get()) is not None:
            if self._queue.durable and self._halt.is_set() and not self._within_grace():
                self._queue.put_back()
                return
            try:
                self._store_frame(frame)
            except StoreUnavailable as error:
                if self._queue.durable:
                    self._queue.put_back()
                    return
                self._drop("store_unavailable", error)
            except StoreError as error:
                self._drop("store_refused", error)
            except Exception as error:  # a defect must cost one frame, not the camera
                logger.exception("camera %s: a frame could not be stored", self._stats.camera)
                self._drop("store_refused", error)
            self._queue.done()

    def _drop(self, reason: str, error: Exception) -> None:
        if self._stats.dropped(reason):
            logger.error("camera %s: frames are dropped: %s", self._stats.camera, error)

    def _store_frame(self, frame: CapturedFrame) -> None:
        name = frame.name
        while True:
            key = make_key(name)
            put = self._insist(partial(self._store.put_frame, key, frame.data))
            if put is PutResult.STORED or not frame.live or self._holds(key, frame.data):
                break
            # Not the run's next number: a frame that comes out of the spool a second time must find where it is already.
            name = replace(name, sequence=name.sequence + 1)
        if put is PutResult.ALREADY_THERE and not frame.live:
            self._stored_before(key, frame.data)
            return
        self._stats.captured()
        self._tell(key)

    def _stored_before(self, key: str, data: bytes) -> None:
        """By an earlier run of the same recording; or it is another one, with the same name and times."""
        if self._holds(key, data):
            self._stats.already_there()
        elif self._stats.dropped("key_taken"):
            logger.error(
                "camera %s: %s holds another image: another recording, or this one with other settings, was stored under "
                "this camera's name; store this one under another name (--camera)",
                self._stats.camera,
                key,
            )

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether the store holds just this frame there: a put whose answer was lost had been done all the same.

        Who may put frames but not read them (capture needs no more) cannot know, and must not wait for it: two frames of one
        microsecond and number are far less likely than a frame that was put twice. Who could not read the last one is not
        held up by tries of the next.
        """
        for number in range(READ_TRIES):
            if number:
                self._halt.wait(RETRY_SECONDS[0])
            try:
                there = self._store.read(key, len(data))
            except (FrameGone, OversizedFrame):
                return False
            except FrameUnreadable as error:
                self._take_for_ours(error)
                return True
            except StoreUnavailable as error:
                reason = error
                if self._may_not_read:
                    break
            else:
                self._may_not_read = False
                return there == data
        self._take_for_ours(reason)
        return True

    def _take_for_ours(self, error: StoreError) -> None:
        if not self._may_not_read:
            logger.warning(
                "camera %s: the store has a frame under a key of ours and does not let us read it; it is taken for the one "
                "that was to be stored: %s",
                self._stats.camera,
                error,
            )
        self._may_not_read = True

    def _tell(self, key: str) -> None:
        if self._on_frame is None:
            return
        try:
            self._on_frame(key)
        except Exception:
            logger.exception("camera %s: whoever listens for frames failed", self._stats.camera)

    def _insist(self, operation: Callable[[], Answer]) -> Answer:
        """The store's answer, however often it must be asked. Raises StoreUnavailable only at the end of all patience."""
        while True:
            try:
                answer = operation()
            except StoreUnavailable as error:
                if not self._away:
                    where = "frames go to the spool" if self._queue.durable else "trying again"
                    logger.warning("camera %s: the store is away, %s until it is back: %s", self._stats.camera, where, error)
                self._away = True
                self._queue.store_is_away()
                if not self._pause():
                    raise
            else:
                if self._away:
                    logger.info("camera %s: the store is back", self._stats.camera)
                self._away = False
                self._backoff.reset()
                self._away_since = None
                return answer

    def _pause(self) -> bool:
        """Wait before the next try; whether there is to be one."""
        delay = self._backoff.failed()
        if not self._halt.is_set():
            if self._queue.durable and self._ended.is_set() and self._away_for() > END_GRACE_SECONDS:
                return False
            if not self._halt.wait(delay):
                return True
        if self._queue.durable or not self._within_grace():
            return False
        time.sleep(min(delay, RETRY_SECONDS[0]))
        return True

    def _away_for(self) -> float:
        """Seconds for which the store has been away since all sources ended."""
        if self._away_since is None:
            self._away_since = time.monotonic()
        return time.monotonic() - self._away_since

    def _within_grace(self) -> bool:
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_SECONDS
            self._backoff.reset()
        return time.monotonic() < self._deadline
