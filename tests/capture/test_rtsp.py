"""A real RTSP server: frames come, and come back after it was away; a wrong password is not hammered (row 24)."""

from __future__ import annotations

import logging
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from framecap.errors import SourceRefused
from framecap.frames import parse_key
from tests.capture.memory_store import MemoryStore
from tests.capture.running import capture_config, eventually, running
from tests.capture.videos import size_of
from tests.system_packages import needs_package

SYSTEM_PYTHON = "/usr/bin/python3"
USER, PASSWORD = "admin", "s3cret-Zq9"
LIBRARIES = Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")
PACKAGES = {
    "python3-gi": "/usr/lib/python3/dist-packages/gi",
    "gir1.2-gst-rtsp-server-1.0": LIBRARIES / "girepository-1.0/GstRtspServer-1.0.typelib",
    "gstreamer1.0-plugins-base": LIBRARIES / "gstreamer-1.0/libgstvideotestsrc.so",
    "gstreamer1.0-plugins-good": LIBRARIES / "gstreamer-1.0/libgstrtp.so",
    "gstreamer1.0-plugins-bad": LIBRARIES / "gstreamer-1.0/libgstvideoparsersbad.so",
    "gstreamer1.0-plugins-ugly": LIBRARIES / "gstreamer-1.0/libgstx264.so",
}


class RtspServer:
    """The server process; `connections` counts the clients that it saw."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        script = Path(__file__).with_name("rtsp_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, script, str(port), USER, PASSWORD], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.connections += line == "client\n"

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def port() -> int:
    for package, path in PACKAGES.items():
        needs_package(package, path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def rtsp_server(port: int) -> Iterator[RtspServer]:
    server = RtspServer(port)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.faults(24)
def test_frames_come_and_come_back_after_the_server_was_away(
    port: int, caplog: pytest.LogCaptureFixture, figure: Callable[[str], None]
) -> None:
    caplog.set_level(logging.DEBUG)
    store = MemoryStore()
    config = capture_config(
        f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/live",
        fps=5.0,
        open_timeout_seconds=5.0,
        read_timeout_seconds=2.0,
        stall_seconds=5.0,
        reconnect_max_seconds=1.0,
    )
    with rtsp_server(port) as server, running(config, store) as run:
        store.wait_for(8)
        server.close()
        eventually(lambda: "does not answer" in caplog.text)
        gap = max(store.frames)
        with rtsp_server(port):
            store.wait_for(len(store.frames) + 8)
            (camera,) = run.finish().cameras
    names = [name for key in sorted(store.frames) if (name := parse_key(key))]
    assert [name.sequence for name in names] == list(range(camera.captured))
    assert {size_of(data) for data in store.in_order()} == {(160, 120)}
    assert camera.reconnects >= 1
    assert PASSWORD not in caplog.text
    before = parse_key(gap)
    assert before is not None
    after = next(name for name in names if name.sequence == before.sequence + 1)
    away = (after.captured_at - before.captured_at).total_seconds()
    assert away < 30
    figure(f"frames again {away:.1f} s after the last before the server's death, its absence included")


@pytest.mark.faults(24)
def test_a_wrong_password_is_refused_and_not_hammered(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = capture_config(f"rtsp://{USER}:wr0ng-Zq9@127.0.0.1:{port}/live", reconnect_max_seconds=30.0)
    with rtsp_server(port) as server, running(config, MemoryStore()) as run:
        eventually(lambda: "refuses its user or password" in caplog.text)
        (camera,) = run.finish().cameras
        assert server.connections == 1
    assert isinstance(camera.problem, SourceRefused)
    assert "trying again in 30.0 s" in caplog.text
    assert "wr0ng" not in caplog.text
