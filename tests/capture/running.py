"""Capture running in a thread of the test, and the reader processes that belong to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from framecap.capture.daemon import CaptureSummary, run_capture
from framecap.config import CameraConfig, CaptureConfig

JOIN_SECONDS = 60


def capture_config(*sources: object, **values: Any) -> CaptureConfig:
    """A configuration that keeps all frames and does not wait long for anything."""
    cameras = tuple(
        CameraConfig(name=None if number == 0 else f"camera-{number}", source=str(source))
        for number, source in enumerate(sources)
    )
    quick: dict[str, Any] = {"fps": None, "reconnect_min_seconds": 0.1, "reconnect_max_seconds": 0.4}
    return CaptureConfig(cameras=cameras, **{**quick, **values})


def capture(store: Any, *sources: object, **values: Any) -> CaptureSummary:
    """Capture until every source has ended."""
    return run_capture(capture_config(*sources, **values), store, threading.Event())


class Running:
    """A capture that goes on until `finish`."""

    def __init__(self, config: CaptureConfig, store: Any, on_frame: Callable[[str], None] | None = None) -> None:
        self.stop = threading.Event()
        self._summary: list[CaptureSummary] = []
        self._thread = threading.Thread(
            target=lambda: self._summary.append(run_capture(config, store, self.stop, on_frame)), daemon=True
        )
        self._thread.start()

    def finish(self) -> CaptureSummary:
        self.stop.set()
        return self.ended()

    def ended(self) -> CaptureSummary:
        self._thread.join(JOIN_SECONDS)
        assert self._summary, "capture did not end"
        return self._summary[0]


@contextmanager
def running(config: CaptureConfig, store: Any, on_frame: Callable[[str], None] | None = None) -> Iterator[Running]:
    capture = Running(config, store, on_frame)
    try:
        yield capture
    finally:
        capture.finish()
    assert readers() == []


def readers() -> list[psutil.Process]:
    """The reader processes of this process."""
    return [child for child in psutil.Process().children() if is_reader(child)]


def eventually(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Until the condition holds: for what other processes do, which no event of ours tells."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def is_reader(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "framecap.capture.reader" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
