"""How long to wait before trying again: failures in, seconds out, longer each time, never in step with other cameras."""

from __future__ import annotations

import random

REFUSED_FACTOR = 10  # cameras lock an account after a few wrong passwords, and nobody corrects one within seconds
_JITTER = (0.5, 1.0)


class Backoff:
    """Doubles from `minimum` to `maximum` seconds; the jitter only shortens, so that `maximum` is kept."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._random = random.Random()  # noqa: S311 - only spreads tries over time
        self.reset()

    def reset(self) -> None:
        """It works again."""
        self._next = self._minimum
        self._next_refused = self._maximum

    def failed(self) -> float:
        """Seconds to wait after another failure."""
        delay = min(self._next, self._maximum)
        self._next = delay * 2
        return delay * self._random.uniform(*_JITTER)

    def refused(self) -> float:
        """Seconds to wait after the credentials were refused: from `maximum` to ten times that."""
        delay = min(self._next_refused, self._maximum * REFUSED_FACTOR)
        self._next_refused = delay * 2
        return delay
