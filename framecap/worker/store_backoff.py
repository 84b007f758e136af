"""Patience with what is away for a while (a store, a device's memory): failures and successes in, how long to wait out."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger(__name__)

_FIRST_SECONDS = 0.5
_MAX_SECONDS = 30.0
_SAY_AGAIN_SECONDS = 60.0  # one bad frame among good ones makes trouble again and again


class StoreBackoff:
    """Doubles the wait with each failure in a row; one success ends it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._logged_at = -_SAY_AGAIN_SECONDS
        self._last: Exception | None = None

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
