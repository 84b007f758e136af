"""This machine's clock in, how long it has run steadily out: a file's time says nothing just after the clock was set."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_STEP_SECONDS = 0.5  # more than a clock is slewed between two looks that follow each other soon


class WallClock:
    """Compares the clock that people set with one that nobody can set. Safe to use from several threads."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._stepped = -math.inf
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return self._wall()

    def stable_for(self) -> float:
        """Seconds since the clock was last found to have been set; infinity when it never was."""
        with self._lock:
            now = self._monotonic()
            offset = self._wall() - now
            if abs(offset - self._offset) > _STEP_SECONDS:
                self._stepped = now
            self._offset = offset
            return now - self._stepped
