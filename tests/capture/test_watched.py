"""Capture seen from outside: ready while it stores, not ready while the store is away, not alive without its writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from framecap.capture import daemon
from framecap.capture.writer import FrameWriter
from framecap.telemetry import health
from tests.capture.memory_store import MemoryStore, away
from tests.capture.mjpeg_camera import MjpegCamera
from tests.capture.running import capture_config, eventually, running


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    camera.close()


@pytest.mark.faults(18)
def test_a_store_that_is_away_makes_it_unready_until_it_is_back(camera: MjpegCamera) -> None:
    store = MemoryStore()
    assert health.not_ready() == ["nothing is at work yet, or any more"]
    with running(capture_config(camera.url()), store) as run:
        store.wait_for(3)
        assert (health.not_alive(), health.not_ready()) == ([], [])
        back = threading.Event()
        store.before_put = lambda key: None if back.is_set() else away(1)(key)
        eventually(lambda: bool(health.not_ready()))
        assert health.not_alive() == []
        (reason,) = health.not_ready()
        assert reason.endswith("the store is away, trying again until it is back")
        back.set()
        eventually(lambda: not health.not_ready())
        run.finish()
    assert health.not_ready() == ["nothing is at work yet, or any more"]


def test_a_defect_that_ends_a_writer_is_seen(camera: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrameWriter, "run", lambda writer: None)
    with running(capture_config(camera.url()), MemoryStore()):
        eventually(lambda: any("nothing stores its frames any more" in problem for problem in health.not_alive()))


def test_a_loop_that_stands_still_is_seen(camera: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_HANGS_SECONDS", -1.0)
    with running(capture_config(camera.url()), MemoryStore()):
        eventually(lambda: any(problem.startswith("capture has not moved") for problem in health.not_alive()))
