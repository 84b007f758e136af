"""One reader process as its supervisor holds it: a Request in, Messages out, and a kill that always works."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from framecap.capture.protocol import Message, MessageDecoder, Request
from framecap.errors import SourceError
from framecap.telemetry import without_secrets

MAX_LAST_WORDS = 4000  # bytes
STARTS_PER_CORE = 2
_POLL_SECONDS = 0.25


class ReaderGone(SourceError):
    """The reader process ended without saying why."""

    retryable = True


class ReaderNotStarted(ReaderGone):
    """This machine has no process, memory or descriptor left for it: that passes."""


class ReaderStart:
    """One of the few readers that may load OpenCV at the same time, from here to `over`.

    Each needs a quarter of a second of a core for it: of hundreds at once, none would be ready within its time.
    """

    _slots = threading.Semaphore(STARTS_PER_CORE * len(os.sched_getaffinity(0)))

    def __init__(self, halt: threading.Event) -> None:
        self._has_slot = False
        while not self._has_slot and not halt.is_set():
            self._has_slot = self._slots.acquire(timeout=_POLL_SECONDS)

    def over(self) -> None:
        if self._has_slot:
            self._slots.release()
        self._has_slot = False


class ReaderProcess:
    """Starts at once, or raises ReaderNotStarted. One thread receives; `kill` may come from any thread."""

    def __init__(self, request: Request) -> None:
        self._decoder = MessageDecoder()
        try:
            self._chatter = os.memfd_create("framecap-reader")
        except OSError as error:
            raise ReaderNotStarted(f"no memory for its reader: {error.strerror}") from None
        fcntl.fcntl(self._chatter, fcntl.F_SETFL, os.O_APPEND)  # the reader empties it when it grows
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "framecap.capture.reader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._chatter,
                env=_environment(),
                process_group=0,  # Ctrl-C in the terminal is for the parent
            )
        except OSError as error:
            os.close(self._chatter)
            raise ReaderNotStarted(f"no process can be started to read it: {error.strerror}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # it died already: receive() says so
            self._input.write(request.encode())
            self._input.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None when nothing whole came within `timeout` seconds. Raises ReaderGone."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while True:
            try:
                message = self._decoder.next()
            except (ValueError, TypeError, KeyError, SourceError):
                raise ReaderGone("its messages cannot be read") from None
            if message is not None:
                return message
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            data = os.read(self._output.fileno(), 1 << 20)
            if not data:
                raise ReaderGone("it ended without a word")
            self._decoder.feed(data)

    def kill(self) -> None:
        """End it now, whatever it does; its pipe then ends too."""
        self._process.kill()

    def close(self) -> int | None:
        """Kill it, take its exit status (None: it hangs in the kernel) and free what it held."""
        self._process.kill()
        for end in (self._input, self._output):
            with contextlib.suppress(OSError):
                end.close()
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # uninterruptible: a file system or driver that does not answer
            return None

    def last_words(self) -> str:
        """The end of what it wrote to standard error, in whole lines, unmasked; to be called once, after `close`."""
        begin = max(0, os.fstat(self._chatter).st_size - MAX_LAST_WORDS)
        text = os.pread(self._chatter, MAX_LAST_WORDS, begin).decode(errors="replace")
        os.close(self._chatter)
        return text.partition("\n")[2] if begin else text  # half an address could not be recognised, and masked


def _environment() -> dict[str, str]:
    """Ours without secrets, and with our module path: the same framecap, and nothing from the working directory."""
    ours = str(Path(__file__).parents[2])
    return {**without_secrets(os.environ), "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), ours])}
