"""A process's health and metrics in; /livez, /readyz and /metrics over HTTP out, for probes and Prometheus."""

from __future__ import annotations

import io
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.registry import REGISTRY, Collector

from framecap.errors import ConfigError
from framecap.telemetry.checks import health
from framecap.telemetry.masking import mask

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 16
_SILENCE_SECONDS = 5.0  # of a client, until its connection is closed
_POLL_SECONDS = 0.2  # how soon the end is seen
_MAX_REASON = 500  # characters

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class TelemetrySource(Protocol):
    """What is asked: one process, or several together."""

    def not_alive(self) -> list[str]: ...

    def not_ready(self) -> list[str]: ...

    def collect(self) -> Iterable[Metric]: ...


class ThisProcess:
    """The process that asks."""

    def not_alive(self) -> list[str]:
        return health.not_alive()

    def not_ready(self) -> list[str]:
        return health.not_ready()

    def collect(self) -> Iterable[Metric]:
        return REGISTRY.collect()


@contextmanager
def serving(host: str, port: int, seen: TelemetrySource) -> Iterator[str]:
    """Within, the three paths are served by threads of their own; gives the address, such as http://127.0.0.1:9464.

    Port 0 is a free one. Raises ConfigError when nobody can listen there.
    """
    server = _listen(host, port, seen)
    where, number = server.server_address[:2]
    address = f"http://{f'[{where!s}]' if ':' in str(where) else where!s}:{number}"
    logger.info("metrics and health: %s/metrics, /livez and /readyz", address)
    if not ipaddress.ip_address(str(where).partition("%")[0]).is_loopback:
        logger.warning("%s is open to everybody who can reach this machine: metrics name the cameras", address)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="telemetry", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def application(seen: TelemetrySource) -> Application:
    """The three paths as a WSGI application."""
    registry = CollectorRegistry()
    registry.register(_Collected(seen))
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "only GET is answered here")
        if path == "/metrics":
            page: Iterable[bytes] = metrics({**environ, "QUERY_STRING": ""}, start_response)
            return page
        if path in ("/livez", "/readyz"):
            problems = seen.not_alive() if path == "/livez" else seen.not_ready()
            reason = _one_line("; ".join(problems))
            return _text(start_response, "503 Service Unavailable" if problems else "200 OK", reason or "ok")
        return _text(start_response, "404 Not Found", "/metrics, /livez and /readyz are answered here")

    return answer


class _Collected(Collector):
    def __init__(self, seen: TelemetrySource) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        return self._seen.collect()

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would else collect to learn the names."""
        return ()


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, ("Cache-Control", "no-store")])
    return [body]


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in mask(text))[:_MAX_REASON]


def _listen(host: str, port: int, seen: TelemetrySource) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server = _Server(family, (str(address[0]), port))
    except OSError as error:  # socket.gaierror is one
        reason = error.strerror or str(error)
        raise ConfigError(
            f"telemetry: cannot listen on {mask(host)!r}, port {port}: {reason}: "
            "give another telemetry.port (--metrics-port) or telemetry.host"
        ) from None
    server.set_app(application(seen))
    return server


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def log_message(self, *_: object) -> None:
        """Nothing: probes come every few seconds."""

    def get_stderr(self) -> io.StringIO:
        """Where wsgiref tells of a client that went away."""
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per connection, so many at most: the newest one is answered, the one that idles longest goes for it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * _MAX_CONNECTIONS

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        self._changed = threading.Condition()
        self._open: dict[socket.socket, None] = {}  # in the order of their coming
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name that HTTPServer does: a name server that is away would hold us up."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            if len(self._open) >= _MAX_CONNECTIONS:
                with suppress(OSError):
                    next(iter(self._open)).shutdown(socket.SHUT_RDWR)
            free = self._changed.wait_for(lambda: len(self._open) < _MAX_CONNECTIONS, _SILENCE_SECONDS)
            if free:
                self._open[request] = None
        if free:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a request for metrics or health broke off", exc_info=True)
