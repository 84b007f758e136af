"""Patience with what is away for a while (a store, a device's memory): failures and successes in, how long to wait out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

_FIRST_SECONDS = 0.5
_MAX_SECONDS = 30.0
_FEW_FRAMES = 8  # that fail alone are errors of their own; more are an outage
_SAY_AGAIN_SECONDS = 60.0  # one bad frame among good ones makes trouble again and again


class StoreBackoff:
    """Doubles the wait with each failure in a row; one success ends it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._logged_at = -_SAY_AGAIN_SECONDS
        self._last: Exception | None = None
        self._unreadable: dict[str, int] = {}  # frames that could not be read since the last success, and how often

    def frame_failed(self, key: str, answers: Callable[[], bool]) -> int | None:
        """Note that a frame could not be read.

        Args:
            key: the frame's.
            answers: asks the store for something else; whether it answers.

        Returns:
            How often this frame failed while the store answered and few others failed, so that it is the frame's own error;
            None where the store itself is unavailable.
        """
        with self._lock:
            self._unreadable[key] = self._unreadable.get(key, 0) + 1
            if len(self._unreadable) > _FEW_FRAMES:
                self._unreadable.clear()
                return None
            tries = self._unreadable[key]
        return tries if answers() else None

    def frame_delay(self, tries: int) -> float:
        """Seconds before the next try of a frame that failed so often."""
        return min(_FIRST_SECONDS * 2.0 ** (tries - 1), _MAX_SECONDS)

    def frame_read(self, key: str) -> None:
        """The frame was read after all, or is failed for good."""
        if self._unreadable:
            with self._lock:
                self._unreadable.pop(key, None)

    def failed(self, error: Exception) -> float:
        """Note a failure; how many seconds to wait before the next try."""
        with self._lock:
            now = time.monotonic()
            self._last = error
            if now >= self._until:  # failures at the same time are one
                self._failures += 1
            delay = min(_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10), _MAX_SECONDS)
            self._until = now + delay
            say = now - self._logged_at >= _SAY_AGAIN_SECONDS
            if say:
                self._logged_at = now
        if say:
            logger.warning("trouble, trying again until it is over: %s", error)
        return delay

    def worked(self) -> None:
        if self._failures:
            with self._lock:
                self._failures = 0
                self._until = 0.0

    @property
    def in_outage(self) -> bool:
        return self._failures > 0

    def problem(self) -> str | None:
        """What the trouble is, while there is any."""
        last = self._last
        return f"trouble, trying again until it is over: {last}" if self.in_outage and last else None

    @property
    def wait(self) -> float:
        """Seconds before the next try; 0 without trouble."""
        return max(self._until - time.monotonic(), 0.0)
