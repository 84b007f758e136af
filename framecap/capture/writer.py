"""One camera's frames from its queue into the store: each is stored exactly once, or counted with the reason why not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from framecap import telemetry
from framecap.capture.backoff import Backoff
from framecap.capture.overflow import BoundedQueue
from framecap.capture.tally import Tally
from framecap.errors import FrameGone, OversizedFrame, StoreError, StoreUnavailable
from framecap.frames import FrameName, make_key
from framecap.stores.base import Put, Store

RETRY_SECONDS = (0.5, 30.0)
GRACE_SECONDS = 10.0  # how long a store that is away is still tried once capture has been told to stop

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame with its name. `live`: another frame under its key is another moment, so it takes the next number."""

    name: FrameName
    data: bytes = field(repr=False)
    live: bool


class FrameWriter:
    """Runs in a thread of its own until the queue is closed and empty."""

    def __init__(
        self,
        queue: BoundedQueue[CapturedFrame],
        store: Store,
        tally: Tally,
        numbers: Iterator[int],
        halt: threading.Event,
        on_frame: Callable[[str], None] | None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._tally = tally
        self._numbers = numbers
        self._halt = halt
        self._on_frame = on_frame
        self._backoff = Backoff(*RETRY_SECONDS)
        self._away = False
        self._deadline: float | None = None

    def run(self) -> None:
        # The durable spool will stand here, between the queue and the store: what the store does not take goes to local
        # disk, and comes from there in order.
        while (frame := self._queue.get()) is not None:
            try:
                self._store_frame(frame)
            except StoreUnavailable as error:
                self._drop("store_unavailable", error)
            except StoreError as error:
                self._drop("store_refused", error)
            except Exception as error:  # a defect must cost one frame, not the camera
                log.exception("camera %s: a frame could not be stored", self._tally.camera)
                self._drop("store_refused", error)

    def _drop(self, reason: str, error: Exception) -> None:
        if self._tally.dropped(reason):
            log.error("camera %s: frames are dropped: %s", self._tally.camera, error)

    def _store_frame(self, frame: CapturedFrame) -> None:
        name = frame.name
        while True:
            key = make_key(name)
            put = self._insist(partial(self._store.put_frame, key, frame.data))
            if put is Put.STORED or not frame.live or self._holds(key, frame.data):
                break
            name = replace(name, sequence=next(self._numbers))
        if put is Put.ALREADY_THERE and not frame.live:
            self._stored_before(key, frame.data)
            return
        self._tally.captured()
        self._tell(key)

    def _stored_before(self, key: str, data: bytes) -> None:
        """By an earlier run of the same recording; or it is another one, with the same name and times."""
        if self._holds(key, data):
            self._tally.already_there()
        elif self._tally.dropped("key_taken"):
            log.error(
                "camera %s: %s holds another picture: another recording, or this one with other settings, was stored under "
                "this camera's name; store this one under another name (--camera)",
                self._tally.camera,
                key,
            )

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether the store holds just this frame there: a put whose answer was lost had been done all the same."""
        try:
            return self._insist(partial(self._store.read, key, len(data))) == data
        except (FrameGone, OversizedFrame):
            return False

    def _tell(self, key: str) -> None:
        if self._on_frame is None:
            return
        try:
            self._on_frame(key)
        except Exception:
            log.exception("camera %s: whoever listens for frames failed", self._tally.camera)

    def _insist(self, operation: Callable[[], Answer]) -> Answer:
        """The store's answer, however often it must be asked. Raises StoreUnavailable only when told to stop meanwhile."""
        while True:
            try:
                answer = operation()
            except StoreUnavailable as error:
                telemetry.store_errors.labels("put_frame").inc()
                if not self._away:
                    log.warning("camera %s: the store is away, trying again until it is back: %s", self._tally.camera, error)
                self._away = True
                if not self._pause():
                    raise
            else:
                if self._away:
                    log.info("camera %s: the store is back", self._tally.camera)
                self._away = False
                self._backoff.reset()
                return answer

    def _pause(self) -> bool:
        """Wait before the next try; whether there is to be one."""
        delay = self._backoff.failed()
        if not self._halt.wait(delay):
            return True
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + GRACE_SECONDS
            self._backoff.reset()
        left = self._deadline - now
        if left > 0:
            time.sleep(min(delay, left, RETRY_SECONDS[0]))
        return left > 0
