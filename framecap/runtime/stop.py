"""What tells a loop to end: anything with `is_set`, such as a threading.Event or a StopFlag."""

from __future__ import annotations

from typing import Protocol


class StopRequest(Protocol):
    """Something that is set once, from any thread or a signal handler."""

    def is_set(self) -> bool: ...


class WaitableStop(StopRequest, Protocol):
    """A stop request that can be waited for."""

    def wait(self, timeout: float | None = None) -> bool: ...
