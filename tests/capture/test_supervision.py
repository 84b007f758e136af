"""Readers that die, hang or lose their parent: nothing is stored twice, nothing of a file is missing, none is left over."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from framecap.capture import camera as camera_module
from framecap.capture.process import ReaderProcess, ReaderStart
from framecap.capture.protocol import Message, Ready, Request
from framecap.frames import parse_key
from framecap.telemetry import health
from tests.capture.memory_store import MemoryStore
from tests.capture.running import capture_config, eventually, is_reader, readers, running
from tests.capture.videos import endless_jpeg, make_raw_mjpeg, make_video, number_in, numbered_image

FRAMES = 150


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.avi", FRAMES, size=(640, 384))  # more than a pipe can hold


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_a_file_goes_on_where_its_reader_died_or_hung(video: Path, sent: signal.Signals) -> None:
    store = MemoryStore()
    struck = threading.Event()

    def strike(key: str) -> None:
        name = parse_key(key)
        assert name is not None
        if name.sequence in (10, 60) and key not in store.frames:
            readers()[0].send_signal(sent)
            struck.set()

    store.before_put = strike
    with running(capture_config(video, queue=1, stall_seconds=1.0), store) as run:
        (camera,) = run.ended().cameras
    assert struck.is_set()
    assert (camera.captured, camera.already_there, camera.reconnects) == (FRAMES, 0, 2)
    assert [number_in(data) for data in store.in_order()] == list(range(FRAMES))
    assert camera.problem is None


def test_a_file_that_kills_every_reader_at_the_same_address_is_given_up(video: Path) -> None:
    store = MemoryStore()
    stop = threading.Event()

    def kill_all() -> None:
        while not stop.wait(0.01):
            for reader in readers():
                reader.kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with running(capture_config(video), store) as run:
            (camera,) = run.ended().cameras
    finally:
        stop.set()
        killer.join()
    assert camera.reconnects == 2
    assert "died (signal 9)" in str(camera.problem)


@pytest.mark.parametrize("every", [None, 2])
def test_an_image_that_hangs_every_reader_does_not_take_the_others_along(tmp_path: Path, every: int | None) -> None:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered_image(number))
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "2.png").write_bytes(endless_jpeg())
    store = MemoryStore()
    with running(capture_config(tmp_path, every=every, stall_seconds=1.0), store) as run:
        (camera,) = run.ended().cameras
    assert [number_in(data) for data in store.in_order()] == ([0, 3, 4, 5] if every is None else [0, 4])
    assert camera.dropped == {"undecodable": 2 if every is None else 1}
    assert (camera.reconnects, camera.problem) == (4, None)  # the first reader came as far as it


def test_a_reader_ignores_ctrl_c(video: Path) -> None:
    store = MemoryStore()

    def interrupt(key: str) -> None:
        if key.endswith("00000010.jpg"):
            readers()[0].send_signal(signal.SIGINT)

    store.before_put = interrupt
    with running(capture_config(video, queue=1), store) as run:
        (camera,) = run.ended().cameras
    assert (camera.captured, camera.reconnects) == (FRAMES, 0)


def test_readers_die_with_a_parent_that_is_killed() -> None:
    """While the reader hangs in a call of OpenCV's, where it would not notice that its pipe is broken."""
    script = (
        "import sys, threading\n"
        "from framecap.capture.daemon import run_capture\n"
        "from tests.capture.memory_store import MemoryStore\n"
        "from tests.capture.running import capture_config\n"
        "config = capture_config(sys.argv[1], open_timeout_seconds=100.0)\n"
        "run_capture(config, MemoryStore(), threading.Event())\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        parent = subprocess.Popen([sys.executable, "-c", script, url])
        try:
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                (reader,) = [child for child in psutil.Process(parent.pid).children() if is_reader(child)]
                parent.kill()
                parent.wait()
                eventually(lambda: not is_reader(reader), timeout=10)
        finally:
            parent.kill()
            parent.wait()


def test_a_reader_gets_no_secrets_of_ours_and_nothing_from_the_working_directory(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-aws")
    monkeypatch.setenv("FRAMECAP__STORE__SECRET", "hunter2-store")
    (tmp_path / "cv2.py").write_text("raise SystemExit('a trap')")
    monkeypatch.chdir(tmp_path)
    store = MemoryStore()
    seen: list[dict[str, str]] = []

    def look(key: str) -> None:
        if not seen:
            seen.append(readers()[0].environ())

    store.before_put = look
    with running(capture_config(video, queue=1), store) as run:
        assert run.ended().captured == FRAMES
    assert "hunter2" not in str(seen[0])


def test_a_frame_that_crashes_or_leaves_no_word_is_reported_from_an_end(tmp_path: Path) -> None:
    """The reader's exit status alone must not look like the end of a file: every frame is accounted for."""
    video = make_raw_mjpeg(tmp_path / "a.mjpeg", [numbered_image(number, (640, 384)) for number in range(40)])
    store = MemoryStore()

    def exit_quietly(key: str) -> None:
        if key.endswith("00000005.jpg") and key not in store.frames:
            os.kill(readers()[0].pid, signal.SIGTERM)

    store.before_put = exit_quietly
    with running(capture_config(video, queue=1, start_time="2026-11-22T10:00:00Z"), store) as run:
        (camera,) = run.ended().cameras
    assert (camera.captured, camera.reconnects) == (40, 1)


def test_a_reader_that_cannot_even_start_says_why(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("raise ImportError('libGL.so.1 is not there')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with running(capture_config(video), MemoryStore()) as run:
        (camera,) = run.ended().cameras
    assert "died (ImportError: libGL.so.1 is not there)" in str(camera.problem)


def test_few_readers_start_at_the_same_time_however_many_cameras_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReaderStart, "_slots", threading.Semaphore(2))
    starting, most = set(), []

    class Counted(ReaderProcess):
        def __init__(self, request: Request) -> None:
            starting.add(self)
            most.append(len(starting))
            super().__init__(request)

        def receive(self, timeout: float) -> Message | None:
            message = super().receive(timeout)
            if isinstance(message, Ready):
                starting.discard(self)
            return message

    monkeypatch.setattr(camera_module, "ReaderProcess", Counted)
    videos = [make_video(tmp_path / f"{number}.avi", 2) for number in range(6)]
    with running(capture_config(*videos), MemoryStore()) as run:
        assert run.ended().captured == 12
    assert (len(most), max(most)) == (6, 2)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("missing", ["processes", "memory"])
def test_a_machine_that_can_start_no_reader_for_a_while_ends_no_camera(
    video: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    refusals: list[int] = []

    def refusing(start: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*arguments: Any, **options: Any) -> Any:
            if len(refusals) < 5:
                refusals.append(1)
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return start(*arguments, **options)

        return refuse

    before, addresses = open_files(), ReaderStart._slots._value
    if missing == "processes":
        monkeypatch.setattr(subprocess, "Popen", refusing(subprocess.Popen))
    else:
        monkeypatch.setattr(os, "memfd_create", refusing(os.memfd_create))
    store = MemoryStore()
    with running(capture_config(video, reconnect_min_seconds=0.01, reconnect_max_seconds=0.02), store) as run:
        (camera,) = run.ended().cameras
    assert len(refusals) == 5
    assert (camera.captured, camera.problem) == (FRAMES, None)
    assert (open_files(), ReaderStart._slots._value) == (before, addresses)


def test_a_supervision_that_fails_is_not_alive(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = camera_module.Camera._request

    def defect(camera: camera_module.Camera) -> Request:
        if camera._plan.name == video.stem:
            raise ZeroDivisionError
        return request(camera)

    monkeypatch.setattr(camera_module.Camera, "_request", defect)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        with running(capture_config(video, other, open_timeout_seconds=30.0), MemoryStore()) as run:
            eventually(lambda: f"camera {video.stem}: nothing reads it any more" in health.not_alive())
            run.finish()
