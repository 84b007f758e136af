"""Faults between framecap and an S3 server: a proxy on loopback that passes requests on, or does not, as a test says.

A server's address and keys in; a proxy's `url`, the requests that came (`requests`) and what becomes of each (`decide`) out.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

ERROR = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>"
BUSY = ERROR % (b"SlowDown", b"Please reduce your request rate.")
DENIED = ERROR % (b"AccessDenied", b"Access Denied")
NOT_PASSED = ("connection", "keep-alive", "transfer-encoding", "expect", "content-length")


class Fault(Enum):
    NONE = "passed on"
    BUSY = "503 SlowDown; the server never sees the request"
    DENIED = "403 AccessDenied; the server never sees the request"
    RESET = "the connection is reset; the server never sees the request"
    SILENCE = "nothing happens at all"
    ANSWER_LOST = "the server does it; the connection is reset instead of an answer"
    ANSWER_HELD = "the server does it; no answer ever comes"
    ANSWER_TRUNCATED = "the connection is reset in the middle of the answer's body"


@dataclass(frozen=True)
class Request:
    """`invocation` is the same for all tries of one call of botocore."""

    method: str
    path: str  # decoded, with the bucket
    query: str
    headers: Mapping[str, str]
    invocation: str


class Proxy:
    """`decide` is asked about every request; `dropped`: headers that the server does not get to see; `latency`: seconds."""

    def __init__(self, server: str, access_key: str = "", secret_key: str = "") -> None:
        self.server = urlsplit(server).netloc
        self.keys = (access_key, secret_key)  # to sign again what lost a header
        self.requests: list[Request] = []
        self.decide: Callable[[Request], Fault] = lambda request: Fault.NONE
        self.answers: Callable[[Request], tuple[int, bytes] | None] = lambda request: None  # of its own, before `decide`
        self.dropped: frozenset[str] = frozenset()
        self.latency = 0.0
        self.held = threading.Event()  # set when an answer is being held
        self.over = threading.Event()
        proxy = self

        class Handler(_Handler):
            def __init__(self, *arguments: object) -> None:
                self.proxy = proxy
                super().__init__(*arguments)  # type: ignore[arg-type]

        self._listener = _Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        self._listener.shutdown()
        self._listener.server_close()

    def tries(self) -> dict[str, int]:
        """How many requests each call of botocore made."""
        made: dict[str, int] = {}
        for request in list(self.requests):
            made[request.invocation] = made.get(request.invocation, 0) + 1
        return made


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away, or that we reset: what the proxy is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(path), query, headers, headers.get("amz-sdk-invocation-id", ""))
        self.proxy.requests.append(request)
        if self.proxy.latency:
            time.sleep(self.proxy.latency)
        if (own := self.proxy.answers(request)) is not None:
            self._send(own[0], {"content-type": "application/xml"}, own[1])
            return
        match self.proxy.decide(request):
            case Fault.NONE:
                self._send(*self._passed_on(body))
            case Fault.BUSY:
                self._send(503, {"content-type": "application/xml"}, BUSY)
            case Fault.DENIED:
                self._send(403, {"content-type": "application/xml"}, DENIED)
            case Fault.RESET:
                self._reset()
            case Fault.SILENCE:
                self._hold()
            case Fault.ANSWER_LOST:
                self._passed_on(body)
                self._reset()
            case Fault.ANSWER_HELD:
                self._passed_on(body)
                self._hold()
            case Fault.ANSWER_TRUNCATED:
                self._send(*self._passed_on(body), truncated=True)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _answer

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED}
        if self.proxy.dropped:
            headers = self._signed_again(headers, body)
        upstream = http.client.HTTPConnection(self.proxy.server, timeout=60)
        try:
            upstream.request(self.command, self.path, body if self.command in ("PUT", "POST") else None, headers)
            answer = upstream.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            upstream.close()

    def _signed_again(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        old = ("authorization", "x-amz-date", "host", *self.proxy.dropped)
        kept = {name: value for name, value in headers.items() if name.lower() not in old}
        request = AWSRequest(self.command, f"http://{self.proxy.server}{self.path}", kept, body)
        request.context["client_config"] = None
        S3SigV4Auth(Credentials(*self.proxy.keys), "s3", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def _send(self, status: int, headers: dict[str, str], body: bytes, truncated: bool = False) -> None:
        length = headers.get("content-length", "0") if self.command == "HEAD" else str(len(body))
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in NOT_PASSED:
                self.send_header(name, value)
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if truncated else body)
        if truncated:
            self._reset()

    def _hold(self) -> None:
        self.proxy.held.set()
        self.proxy.over.wait(60)
        self._reset()

    def _reset(self) -> None:
        """Close at once, so that the client gets a reset and no orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        os.close(self.connection.detach())
