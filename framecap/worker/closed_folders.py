"""Folders that take no sidecars from this user: refusals and successes in; how long their frames wait out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_FIRST_SECONDS, _MAX_SECONDS = 1.0, 300.0  # between two tries of a folder


@dataclass(slots=True)
class _Closed:
    """A folder that refused: the time of its next try, and the pause after that one."""

    until: float
    pause: float


class ClosedFolders:
    """A frame of a folder that refuses is captioned for nothing: only one is tried at a time, and ever more seldom.

    The rest of the store is not slowed down by it. Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed: dict[str, _Closed] = {}
        self._last: Exception | None = None  # since which nothing could be written anywhere

    def wait(self, key: str) -> float:
        """Seconds to wait before this frame; 0: try it, and the folder's others wait for what becomes of it."""
        if not self._closed:  # the usual case, without the lock
            return 0.0
        with self._lock:
            closed = self._closed.get(_folder(key))
            now = self._clock()
            if closed is None or now >= closed.until:
                if closed is not None:
                    closed.until = now + closed.pause
                    closed.pause = min(2 * closed.pause, _MAX_SECONDS)
                return 0.0
            return closed.until - now

    def refused(self, key: str, error: Exception) -> float:
        """The folder took no sidecar; how many seconds to wait."""
        folder = _folder(key)
        with self._lock:
            now = self._clock()
            self._last = error
            closed = self._closed.get(folder)
            if closed is None:
                logger.warning("frames of one folder wait until it takes their sidecars, others do not: %s", error)
                closed = self._closed[folder] = _Closed(now + _FIRST_SECONDS, 2 * _FIRST_SECONDS)
            return max(closed.until - now, 0.0)

    def took(self, key: str) -> None:
        """A sidecar was written there."""
        self._last = None
        if self._closed:
            with self._lock:
                if self._closed.pop(_folder(key), None):
                    logger.info("%s: its folder takes sidecars again", key)

    def problem(self) -> str | None:
        """Why nothing can be written, if nothing was since the last refusal."""
        return None if self._last is None else f"trying again until it is over: {self._last}"


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
