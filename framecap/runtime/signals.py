"""A worker's signals in; a stop flag (the first SIGTERM or SIGINT drains, the second forces) and reload requests (SIGHUP)
out.

Exit codes: a drained worker ends as its command does (0 when nothing failed); a forced one with FORCED_EXIT_CODE.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FORCED_EXIT_CODE = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Set once, read from any thread. Without a lock: a signal handler that waits for one could wait for itself."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Inside, the first SIGTERM or SIGINT sets the flag, and another ends this process at once.

    At once means without cleaning up: decoders see their parent's end and follow, leases and temporary files are what the
    next start is made for. Only the main thread may enter.
    """
    flag = StopFlag()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            os._exit(FORCED_EXIT_CODE)
        flag.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def reload_on_sighup(ask: Callable[[], None], stop: StopFlag) -> Iterator[None]:
    """Inside, SIGHUP calls `ask`. One that comes because the terminal has gone stops us, unless nohup wanted it to pass.

    Only the main thread may enter.
    """
    before = signal.getsignal(signal.SIGHUP)
    attached = _terminal_is_there() and before is not signal.SIG_IGN

    def on_sighup(number: int, frame: FrameType | None) -> None:
        if attached and not _terminal_is_there():
            stop.set()
        else:
            ask()

    signal.signal(signal.SIGHUP, on_sighup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _terminal_is_there() -> bool:
    """Whether this process has a terminal (that has not been closed)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
