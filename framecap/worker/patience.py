"""Patience with what is away for a while (a store, a device's memory): failures and successes in, how long to wait out."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger(__name__)

_FIRST_SECONDS = 0.5
_MAX_SECONDS = 30.0
_SAY_AGAIN_SECONDS = 60.0  # one bad frame among good ones makes trouble again and again


class Patience:
    """Doubles the wait with each failure in a row; one success ends it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._said_at = -_SAY_AGAIN_SECONDS

    def failed(self, error: Exception) -> float:
        """Note a failure; how many seconds to wait before the next try."""
        with self._lock:
            self._failures += 1
            say = time.monotonic() - self._said_at >= _SAY_AGAIN_SECONDS
            if say:
                self._said_at = time.monotonic()
        if say:
            logger.warning("trouble, trying again until it is over: %s", error)
        return self.delay

    def worked(self) -> None:
        self._failures = 0

    @property
    def delay(self) -> float:
        """Seconds to wait before the next try; 0 without trouble."""
        failures = self._failures
        return min(_FIRST_SECONDS * 2.0 ** min(failures - 1, 10), _MAX_SECONDS) if failures else 0.0
