"""A disk that fails in each of its calls, each way (row 18): the worker waits, says that it is not ready, and heals."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framecap.config import IngestConfig, WorkerConfig
from framecap.sidecars.sidecar import Sidecar
from framecap.stores import directory_backend, local_backend
from framecap.telemetry.server import ThisProcess, serving
from tests.telemetry.test_server import ask
from tests.worker.fakes import check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

CALLS = ("open", "scandir", "stat", "fstat", "read", "write", "fsync", "link")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENOTCONN)
SMALL = tuple(zip(CALLS, itertools.cycle(ERRORS), strict=False))
IMAGE = encoded(scene(32, 24))
FEW_IN_FLIGHT = WorkerConfig(decoders=1, queue=4)
LOOKING = IngestConfig(scan_seconds=0.05, settle_seconds=0.2, hints="off")


class Disk:
    """The `os` of the stores, whose call `call` fails while `error` is set."""

    def __init__(self, call: str) -> None:
        self._call = call
        self.error: int | None = None

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._faulty(real) if name == self._call else real

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            return real(*arguments, **options)

        return call


def test_every_call_and_every_error_is_there() -> None:
    assert {call for call, _ in SMALL} == set(CALLS)
    assert {error for _, error in SMALL} == set(ERRORS)


@pytest.mark.faults(18)
@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_fails_is_waited_for(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch, full: bool, figure: Callable[[str], None]
) -> None:
    monkeypatch.setattr("framecap.worker.store_backoff._FIRST_SECONDS", 0.02)
    monkeypatch.setattr("framecap.worker.store_backoff._MAX_SECONDS", 0.1)
    monkeypatch.setattr("framecap.ingest.scanner._MAX_BACK_OFF", 0.1)
    errors = ERRORS if full else [error for one, error in SMALL if one == call]
    for error in errors:
        root = tmp_path / errno.errorcode[error]
        fill(root, {f"a/{n}.jpg": IMAGE for n in range(30)})
        fail_and_heal(root, call, error, monkeypatch)
    figure(f"{call}: {', '.join(errno.errorcode[error] for error in errors)}: unready, then healed, 0 lost, 0 failed")


def fail_and_heal(root: Path, call: str, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local_store(root)
    disk = Disk(call)
    with monkeypatch.context() as patch, serving("127.0.0.1", 0, ThisProcess()) as address:
        patch.setattr(directory_backend, "os", disk)
        patch.setattr(local_backend, "os", disk)
        seen: list[str] = []

        def on_commit(made: Sidecar) -> None:
            if healer.ident is None:  # it has begun well
                disk.error = error
                healer.start()
            elif seen:
                ready_again.wait(20)  # who is through with everything is not ready, either

        def heal() -> None:
            seen.append(wait_for(address, 503))
            disk.error = None
            seen.append(wait_for(address, 200))
            ready_again.set()

        healer = threading.Thread(target=heal)
        ready_again = threading.Event()
        done = work(store, config=FEW_IN_FLIGHT, on_commit=on_commit, looking=LOOKING)
        healer.join()
    assert os.strerror(error) in seen[0]
    assert {made.status for made in check_oracle(root, done.committed).values()} == {"captioned"}
    assert {lease.attempt for lease in done.leases} == {1}


def wait_for(address: str, status: int) -> str:
    """What /readyz says when it answers so."""
    deadline = time.monotonic() + 20
    while True:
        answer, output = ask(address, "/readyz")
        assert ask(address, "/livez")[0] == 200
        if answer == status:
            return output
        assert time.monotonic() < deadline, output
        time.sleep(0.02)
