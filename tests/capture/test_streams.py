"""Live sources and web addresses: times, reconnects, hangs, refusals, freezes, stale images, and recordings by HTTP."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from framecap.errors import SourceRefused, SourceStalled, SourceUnreachable
from framecap.frames import parse_key, read_position
from tests.capture.memory_store import MemoryStore
from tests.capture.mjpeg_camera import MjpegCamera
from tests.capture.running import capture, capture_config, eventually, readers, running
from tests.capture.videos import make_video, number_in, size_of

TOLERANCE = 1.0  # seconds between an image's taking and its frame's time, on a busy machine


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    camera.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def lateness(camera: MjpegCamera, store: MemoryStore) -> list[float]:
    """Seconds from an image's taking to the time that its frame bears."""
    late = []
    for key, data in sorted(store.frames.items()):
        name = parse_key(key)
        assert name is not None
        late.append(name.captured_at.timestamp() - camera.taken[number_in(data)])
    return late


def output(caplog: pytest.LogCaptureFixture, text: str, level: int = logging.DEBUG) -> int:
    return sum(text in record.getMessage() and record.levelno >= level for record in caplog.records)


def test_live_frames_have_the_time_of_their_grab_and_count_up(camera: MjpegCamera, store: MemoryStore) -> None:
    with running(capture_config(camera.url()), store) as run:
        store.wait_for(20)
        summary = run.finish()
    names = [parse_key(key) for key in sorted(store.frames)]
    assert [name and name.sequence for name in names] == list(range(summary.captured))
    assert max(map(abs, lateness(camera, store))) < TOLERANCE
    assert {read_position(data) for data in store.in_order()} == {None}
    numbers = [number_in(data) for data in store.in_order()]
    assert numbers == sorted(set(numbers))


def test_live_sampling_keeps_the_rate(camera: MjpegCamera, store: MemoryStore) -> None:
    with running(capture_config(camera.url(), fps=5.0), store) as run:
        store.wait_for(10)
        run.finish()
    times = [name.captured_at.timestamp() for key in sorted(store.frames) if (name := parse_key(key))]
    assert 0.7 * 0.2 < (times[-1] - times[0]) / (len(times) - 1) < 2 * 0.2


@pytest.mark.faults(24)
def test_a_dropped_connection_comes_back(camera: MjpegCamera, store: MemoryStore) -> None:
    with running(capture_config(camera.url()), store) as run:
        for _ in range(2):
            store.wait_for(len(store.frames) + 5)
            camera.drop()
        store.wait_for(len(store.frames) + 5)
        (summary,) = run.finish().cameras
    assert summary.reconnects == 2
    assert summary.captured == len(store.frames)
    assert max(map(abs, lateness(camera, store))) < TOLERANCE


@pytest.mark.faults(24)
def test_a_camera_that_is_away_for_a_while(
    camera: MjpegCamera, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(capture_config(camera.url()), store) as run:
        store.wait_for(5)
        camera.go_away()
        eventually(lambda: output(caplog, "does not answer") >= 3)
        camera.come_back()
        store.wait_for(len(store.frames) + 5)
        (summary,) = run.finish().cameras
    assert output(caplog, "trying again", logging.WARNING) == 1  # of several tries in one outage
    assert output(caplog, "answers again") == 1
    assert summary.problem is None
    assert summary.reconnects >= 3


@pytest.mark.faults(24)
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"read_timeout_seconds": 0.5, "stall_seconds": 30.0}, "stopped sending"),
        ({"read_timeout_seconds": 30.0, "stall_seconds": 0.7}, "its reader is killed"),
    ],
)
def test_a_stream_that_hangs_is_given_up_and_opened_again(
    camera: MjpegCamera, store: MemoryStore, caplog: pytest.LogCaptureFixture, limits: dict[str, float], expected: str
) -> None:
    with running(capture_config(camera.url(), **limits), store) as run:
        store.wait_for(5)
        camera.hanging.set()
        eventually(lambda: output(caplog, expected) == 1)
        camera.hanging.clear()
        store.wait_for(len(store.frames) + 5)
        (summary,) = run.finish().cameras
    assert summary.reconnects >= 1
    assert max(map(abs, lateness(camera, store))) < TOLERANCE


@pytest.mark.faults(24)
def test_a_stopped_reader_of_a_live_source_is_replaced(camera: MjpegCamera, store: MemoryStore) -> None:
    with running(capture_config(camera.url(), stall_seconds=0.7), store) as run:
        store.wait_for(5)
        (hung,) = readers()
        hung.suspend()
        eventually(lambda: any(reader.pid != hung.pid for reader in readers()))
        store.wait_for(len(store.frames) + 5)
        (summary,) = run.finish().cameras
    assert summary.reconnects == 1


@pytest.mark.faults(24)
def test_what_waited_in_a_buffer_is_not_labelled_new(camera: MjpegCamera, store: MemoryStore) -> None:
    camera.backlog = 60
    with running(capture_config(camera.url()), store) as run:
        store.wait_for(10)
        (summary,) = run.finish().cameras
    assert max(lateness(camera, store)) < TOLERANCE
    assert summary.dropped["stale"] >= 50


@pytest.mark.faults(24)
def test_what_waited_for_a_slow_store_is_not_labelled_new(camera: MjpegCamera, store: MemoryStore, full: bool) -> None:
    waited = 6 if full else 3  # seconds; in the full table others run beside it, and twice the lateness is allowed
    camera.size = (960, 576)  # larger images: little fits into the pipe between reader and supervisor
    gate = threading.Event()

    def hold(key: str) -> None:
        if key.endswith("-00000003.jpg"):
            gate.wait(30)

    store.before_put = hold
    with running(capture_config(camera.url(), queue=1, stall_seconds=1.0), store) as run:
        eventually(lambda: len(camera.taken) > 25 * waited)
        gate.set()
        store.wait_for(40)
        (summary,) = run.finish().cameras
    assert summary.reconnects == 0  # a supervisor that is held up itself does not call its reader stalled
    assert max(lateness(camera, store)) < waited * 2 / 3 * TOLERANCE  # what had waited would be so late
    assert summary.dropped["stale"] > 10


@pytest.mark.faults(24)
def test_a_frozen_image_is_reported_once(camera: MjpegCamera, store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(capture_config(camera.url(), frozen_seconds=0.4), store) as run:
        store.wait_for(3)
        camera.still = True
        eventually(lambda: output(caplog, "the same image") >= 1)
        store.wait_for(len(store.frames) + 25)
        camera.still = False
        eventually(lambda: output(caplog, "moves again") >= 1)
        (summary,) = run.finish().cameras
    assert summary.frozen == output(caplog, "the same image") == 1


@pytest.mark.faults(24)
def test_a_new_resolution_in_mid_stream(camera: MjpegCamera, store: MemoryStore) -> None:
    with running(capture_config(camera.url()), store) as run:
        store.wait_for(5)
        camera.size = (320, 240)
        store.wait_for(len(store.frames) + 10)
        camera.drop()  # at the latest a new connection has the new size
        eventually(lambda: any(size_of(data) == (320, 240) for data in store.in_order()[-1:]))
        run.finish()
    assert max(map(abs, lateness(camera, store))) < TOLERANCE  # each frame shows the image of its time


@pytest.mark.faults(24)
def test_a_wrong_password_is_refused_and_not_hammered(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    camera = MjpegCamera(password="right")
    config = capture_config(camera.url("user:wr0ng@"), reconnect_max_seconds=30.0)
    with running(config, store) as run:
        eventually(lambda: output(caplog, "refuses its user or password") == 1)
        (summary,) = run.finish().cameras
    assert isinstance(summary.problem, SourceRefused)
    assert output(caplog, "trying again in 30.0 s") == 1
    assert camera.requests <= 2  # FFmpeg's own: without, and with the credentials
    assert "wr0ng" not in caplog.text
    camera.close()


def test_the_right_password_is_accepted(store: MemoryStore) -> None:
    camera = MjpegCamera(password="right")
    with running(capture_config(camera.url("user:right@")), store) as run:
        store.wait_for(3)
        run.finish()
    camera.close()


def test_a_closed_port_is_reported_clearly_once_and_tried_for_ever(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{unused.getsockname()[1]}/x"
        with running(capture_config(url), store) as run:
            eventually(lambda: output(caplog, "trying again in") >= 4)
            (summary,) = run.finish().cameras
    assert isinstance(summary.problem, SourceUnreachable)
    assert output(caplog, "(Connection refused): check the address, and that the camera is on", logging.WARNING) == 1


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_accepts_and_never_answers(scheme: str, store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/x"
        with running(capture_config(url, open_timeout_seconds=0.3), store) as run:
            eventually(lambda: output(caplog, "trying again in") >= 2)
            (summary,) = run.finish().cameras
    assert isinstance(summary.problem, SourceUnreachable)
    assert "Stream timeout triggered" in str(summary.problem)


def test_stop_is_quick_while_a_reader_hangs_in_opening(store: MemoryStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = capture_config(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x", open_timeout_seconds=60.0)
        with running(config, store) as run:
            connection, _ = server.accept()
            with connection:
                summary = run.finish()
    assert summary.captured == 0


def test_a_reader_that_hangs_in_opening_is_killed(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        with running(capture_config(url, open_timeout_seconds=0.5, stall_seconds=0.5), store) as run:
            server.accept()[0].close()
            eventually(lambda: bool(readers()))
            connection, _ = server.accept()
            with connection, contextlib.suppress(IndexError):
                readers()[0].suspend()
            eventually(lambda: output(caplog, "its reader is killed") >= 1)
            (summary,) = run.finish().cameras
    assert isinstance(summary.problem, (SourceStalled, SourceUnreachable))


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietFiles, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_recording_on_a_web_server_ends_like_a_file(
    tmp_path: Path, web: str, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    make_video(tmp_path / "a.mp4", 30, codec="mp4v")
    summary = capture(store, f"{web}/a.mp4")
    assert summary.captured == 30
    assert [number_in(data) for data in store.in_order()] == list(range(30))
    assert [read_position(data) for data in store.in_order()] == [round(index / 10, 6) for index in range(30)]
    assert output(caplog, "is a recording of unknown time") == 1


def test_a_recording_on_a_web_server_with_a_start_time_is_stored_once(tmp_path: Path, web: str, store: MemoryStore) -> None:
    make_video(tmp_path / "a.mp4", 10, codec="mp4v")
    for expected in ((10, 0), (0, 10)):
        summary = capture(store, f"{web}/a.mp4", start_time="2026-11-22T10:00:00Z")
        assert (summary.captured, summary.already_there) == expected


def test_a_web_page_that_is_not_there(web: str, store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    with running(capture_config(f"{web}/nothing.mp4"), store) as run:
        eventually(lambda: output(caplog, "status 404") == 1)
        run.finish()


def test_a_camera_that_is_not_plugged_in_is_reported_once_and_tried_while_others_are_captured(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(tmp_path / "a.avi", 3)
    with caplog.at_level(logging.DEBUG, "framecap"), running(capture_config("97", video), store) as run:
        eventually(lambda: len(store.frames) == 3 and output(caplog, "/dev/video97 is not there: plug it in") > 2)
        summary = run.finish()
    assert output(caplog, "/dev/video97 is not there", logging.WARNING) == 1
    assert [camera.captured for camera in summary.cameras] == [0, 3]
    assert isinstance(summary.cameras[0].problem, SourceUnreachable)
