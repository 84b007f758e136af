"""Whether this process lives and is ready: what its parts say of themselves in, the reasons why not out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Check = Callable[[], str | None]  # the reason why something is not well, or None

_IDLE = "nothing is at work yet, or any more"


class Heartbeat:
    """A loop that moves beats; one that has not beaten for `limit_seconds` hangs. Beaten by one thread, felt by any."""

    def __init__(self, name: str, limit_seconds: float) -> None:
        self.name = name
        self._limit = limit_seconds
        self._last: float | None = None

    def beat(self) -> None:
        self._last = time.monotonic()

    def rest(self) -> None:
        """Nothing is to be done until the next beat, however late that comes."""
        self._last = None

    def problem(self) -> str | None:
        last = self._last
        seconds = 0.0 if last is None else time.monotonic() - last
        return f"{self.name} has not moved for {seconds:.0f} s" if seconds > self._limit else None


class Health:
    """The checks of those parts that are at work. Safe to use from several threads.

    A process in which nothing is at work lives, and is not ready: it loads its model, or is about to end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: list[Check] = []
        self._ready: list[Check] = []

    @contextmanager
    def watching(self, alive: Sequence[Check] = (), ready: Sequence[Check] = ()) -> Iterator[None]:
        """Within, these checks count. Whoever brings a check of being alive does the process's work."""
        with self._lock:
            self._alive += alive
            self._ready += ready
        try:
            yield
        finally:
            with self._lock:
                for check in alive:
                    self._alive.remove(check)
                for check in ready:
                    self._ready.remove(check)

    def not_alive(self) -> list[str]:
        """Why this process should be started again."""
        return _problems(self._alive)

    def not_ready(self) -> list[str]:
        """Why this process does no work just now."""
        return self.not_alive() + _problems(self._ready) if self._alive else [_IDLE]


def _problems(checks: list[Check]) -> list[str]:
    return [problem for check in tuple(checks) if (problem := check()) is not None]


health = Health()  # of this process
