"""An event in, a program run on it out: no shell, the event as JSON on its standard input, a time-out."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from framecap.config import CommandConfig
from framecap.errors import EndpointUnavailable, EventRefused
from framecap.events.event import Event
from framecap.telemetry import mask

_OWN_VARIABLES = "FRAMECAP__"  # they may hold passwords that are none of its business
_SHOWN = 300  # bytes of what it says when it fails
_POLL_SECONDS = 0.1


class Command:
    """One program: exit code 0 is delivered. What it starts is killed with it when its time is over."""

    def __init__(self, config: CommandConfig) -> None:
        self._argv = config.argv
        self._timeout = config.timeout_seconds
        self.target = Path(config.argv[0]).name
        self._in_flight: subprocess.Popen[bytes] | None = None

    def deliver(self, event: Event) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        with tempfile.TemporaryFile() as given:  # not a pipe: who does not read it blocks nobody
            given.write(event.body + b"\n")
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self._argv,
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise EndpointUnavailable(f"{self._argv[0]!r} cannot be started: {reason}") from None
        self._in_flight = process
        try:
            output = _wait(process, self._timeout)
        finally:
            self._in_flight = None
        if process.returncode is None or output is None:
            raise EventRefused(f"{self.target} did not end within {self._timeout:g} s and was killed")
        if process.returncode != 0:
            text = mask(output.decode(errors="replace").strip())
            raise EventRefused(f"{self.target} ended with {process.returncode}{f': {text}' if text else ''}")

    def close(self) -> None:
        """Nothing is kept."""

    def abort(self) -> None:
        """Kill the command in flight, and what it started."""
        process = self._in_flight
        if process is not None:
            _kill(process)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bytes | None:
    """The last of what it says on standard error, which is read without end and kept short; None: it was killed."""
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    end = time.monotonic() + timeout
    output = b""
    with process.stderr:
        while time.monotonic() < end:
            output = (output + (process.stderr.read(1 << 16) or b""))[-_SHOWN:]
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return (output + (process.stderr.read(1 << 16) or b""))[-_SHOWN:]
        _kill(process)
        process.wait()
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that stayed in its session: it was started as the leader of one."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
