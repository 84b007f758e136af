"""A live camera on loopback: Motion JPEG over HTTP, that can hang, drop its viewers, go away, and want a password.

Each image shows its number and is remembered with the time at which it was taken, so that a test can ask whether a
stored frame has the right time.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.capture.videos import jpeg, numbered_image

BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class MjpegCamera:
    """Serves from its making to `close`; `size` and `still` may change while it runs."""

    def __init__(self, password: str | None = None, fps: float = 25) -> None:
        self.fps = fps
        self.size = (160, 96)
        self.still = False  # always the same image
        self.hanging = threading.Event()  # connected, but nothing is sent
        self.backlog = 0  # so many old images come first at each connection
        self.taken: dict[int, float] = {}
        self.requests = 0
        self.password = password
        self._number = 0
        self._lock = threading.Lock()
        self._viewers: list[threading.Event] = []
        self._server = self._serve(0)

    @property
    def count(self) -> int:
        """Images taken so far."""
        return self._number

    @property
    def port(self) -> int:
        return self._server.server_port

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}/live.mjpg"

    def drop(self) -> None:
        """Close all connections."""
        for dropped in self._viewers:
            dropped.set()

    def go_away(self) -> None:
        """No viewers, and no port any more, until `come_back`."""
        self._gone_port = self.port
        self._server.shutdown()
        self._server.server_close()
        self.drop()

    def come_back(self) -> None:
        self._server = self._serve(self._gone_port)

    def close(self) -> None:
        self.hanging.clear()
        self.go_away()

    def take(self) -> bytes:
        """A new image, now."""
        with self._lock:
            if not self.still:
                self._number += 1
            number = self._number % 4096
            self.taken[number] = time.time()
        return jpeg(numbered_image(number, self.size))

    def authorized(self, header: str | None) -> bool:
        wanted = "Basic " + base64.b64encode(f"user:{self.password}".encode()).decode()
        return self.password is None or header == wanted

    def _serve(self, port: int) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", port), _handler(self))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def stream(self, write: Callable[[bytes], Any]) -> None:
        """Send images until the viewer goes or is dropped."""
        dropped = threading.Event()
        self._viewers.append(dropped)
        images = [self.take() for _ in range(self.backlog)]
        if images:
            time.sleep(2)  # old ones by now
        for image in images:
            write(BOUNDARY % len(image) + image + b"\r\n")
        while not dropped.wait(1 / self.fps):
            if not self.hanging.is_set():
                image = self.take()
                write(BOUNDARY % len(image) + image + b"\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(camera: MjpegCamera) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            camera.requests += 1
            if not camera.authorized(self.headers["Authorization"]):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):
                camera.stream(self.wfile.write)

    return Handler
