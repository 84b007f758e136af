"""A real HTTP server on loopback that answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


Answer = Callable[[Posted], int]  # a status; one that blocks is an endpoint that hangs


def well(posted: Posted) -> int:
    return 200


@dataclass
class Endpoint:
    """Where it listens, what came, and what it answers: `answer` may be changed at any time."""

    url: str
    answer: Answer = well
    headers: dict[str, str] = field(default_factory=dict)  # of its answers
    posted: list[Posted] = field(default_factory=list)
    taken: list[Posted] = field(default_factory=list)  # those that it answered 2xx
    ended: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, posted: Posted) -> int:
        with self._changed:
            self.posted.append(posted)
            self._changed.notify_all()
        status = self.answer(posted)
        with self._changed:
            if status < 300:
                self.taken.append(posted)
            self._changed.notify_all()
        return status

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(true, WAIT_SECONDS), f"{what}: {len(self.posted)} posted, {len(self.taken)} taken"

    def wait_taken(self, count: int) -> None:
        self.wait_for(lambda: len(self.taken) >= count, f"waiting for {count} events")

    def hang(self, posted: Posted) -> int:
        """An answer for `answer`: none before the test's end."""
        self.ended.wait(WAIT_SECONDS)
        return 200


@contextmanager
def serving_endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = endpoint.take(Posted(self.path, headers, body))
            try:
                self.send_response(status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.ended.set()
        server.shutdown()
        server.server_close()


def wait_until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)
