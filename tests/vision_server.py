"""A real HTTP server that speaks OpenAI's chat completions, and misbehaves as a test asks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from framecap.captioning.caption import Images

ANSWER = "A red box."
TOKENS = [("A", -0.1), (" red", -0.2), (" b", -0.3), ("ox", -0.1), (".", -0.05)]


@dataclass
class Request:
    """One request, as the server saw it."""

    path: str
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def image(self) -> Images:
        """The image that it carried, RGB."""
        url = self.document["messages"][0]["content"][1]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,")
        data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        assert found is not None
        return np.asarray(found, np.uint8)


Answer = Callable[[Request], tuple[int, bytes]]


def completion(
    text: str | None = ANSWER, reason: str = "stop", logprobs: bool = False, **message: object
) -> tuple[int, bytes]:
    """An answer as the protocol has it."""
    tokens = {"content": [{"token": token, "logprob": value, "top_logprobs": []} for token, value in TOKENS]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": reason,
        "logprobs": tokens if logprobs else None,
    }
    return 200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()


@dataclass
class VisionServer:
    """`answer` may be changed at any time; `requests` are those that came."""

    port: int
    answer: Answer = lambda request: completion()
    requests: list[Request] = field(default_factory=list)
    at_once: int = 0  # requests in flight, at most

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def vision_server(port: int = 0) -> Iterator[VisionServer]:
    """Within, it answers."""
    in_flight, lock = [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = Request(self.path, dict(self.headers), document)
            with lock:
                seen.requests.append(request)
                in_flight[0] += 1
                seen.at_once = max(seen.at_once, in_flight[0])
            status, body = seen.answer(request)
            with lock:
                in_flight[0] -= 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is what some tests are about."""

    server = Server(("127.0.0.1", port), Handler)
    seen = VisionServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
