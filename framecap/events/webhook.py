"""An event in, a signed POST out: Standard Webhooks' headers, no redirects, no proxies, a time-out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

import framecap
from framecap.config import WebhookConfig
from framecap.errors import ConfigError, EndpointUnavailable, EventRefused
from framecap.events.action import reveal
from framecap.events.event import Event

_SECRET_PREFIX = "whsec_"  # noqa: S105 - of Standard Webhooks' secrets: base64 follows
_BUSY = (408, 425, 429)  # and 5xx: the endpoint, not the event, is what is wrong
_MAX_ANSWER = 1 << 16  # bytes that are read so that the connection can be used again
_CUT_SECONDS = 0.1  # between two tries to cut a connection off: it may not be open yet


class Webhook:
    """One endpoint; its connection is kept open between events."""

    def __init__(self, config: WebhookConfig, timeout: float, where: str) -> None:
        """Raises ConfigError."""
        self._url = reveal(config.url, f"{where}: url") or ""
        secret = reveal(config.secret, f"{where}: secret")
        self._key = None if secret is None else signing_key(secret, where)
        try:
            parts = urlsplit(self._url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise ConfigError(f"{where}: url: http://host/path or https://host/path is expected")
        self.target = f"{parts.scheme}://{host}{f':{port}' if port else ''}"
        self._timeout = timeout
        self._connection: Any = None  # the one that is in use
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, timeout=urllib3.Timeout(connect=timeout, read=timeout))

    def deliver(self, event: Event) -> None:
        with self._deadline() as late:
            self._judge(self._exchange(event, late))

    def close(self) -> None:
        self._pool.clear()

    def abort(self) -> None:
        """It ends with the process."""

    def _exchange(self, event: Event, late: threading.Event) -> int:
        """The status of the answer. One whose headers came too late is none; of one whose body does, the status counts."""
        try:
            self._watch_connections()
            answer = self._pool.request(
                "POST",
                self._url,
                body=event.body,
                headers=self._headers(event),
                redirect=False,
                retries=False,
                preload_content=False,
            )
        except HTTPError as error:
            reason = self._late() if late.is_set() else _reason(error)
            raise EndpointUnavailable(f"{self.target} does not answer ({reason})") from None
        except (UnicodeError, ValueError) as error:
            raise EndpointUnavailable(f"{self.target}: its address cannot be used ({type(error).__name__})") from None
        if late.is_set():
            answer.close()
            raise EndpointUnavailable(f"{self.target} does not answer ({self._late()})")
        try:
            answer.read(_MAX_ANSWER)
        except (HTTPError, OSError):  # what counts was said
            pass
        finally:
            answer.drain_conn() if answer.length_remaining == 0 else answer.close()
            answer.release_conn()
        return answer.status

    def _late(self) -> str:
        return f"not within events.timeout_seconds, {self._timeout:g} s"

    def _watch_connections(self) -> None:
        """Let the pool tell of the connection that it makes: its own time-outs begin again with every byte."""
        pool = self._pool.connection_from_url(self._url)
        make = type(pool).ConnectionCls

        def watched(*arguments: Any, **options: Any) -> Any:
            self._connection = make(*arguments, **options)
            return self._connection

        pool.ConnectionCls = watched  # type: ignore[assignment]

    @contextmanager
    def _deadline(self) -> Iterator[threading.Event]:
        """Within, the connection is cut off when the time for the whole exchange is over; then the event is set."""
        done, late = threading.Event(), threading.Event()

        def cut() -> None:
            if done.wait(self._timeout):
                return
            late.set()
            while True:
                with suppress(OSError, AttributeError):  # closed meanwhile, or not open yet
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
                if done.wait(_CUT_SECONDS):
                    return

        thread = threading.Thread(target=cut, name="webhook's deadline", daemon=True)
        thread.start()
        try:
            yield late
        finally:
            done.set()
            thread.join()

    def _headers(self, event: Event) -> dict[str, str]:
        now = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"framecap/{framecap.__version__}",
            "webhook-id": event.id,
            "webhook-timestamp": now,
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, event.id, now, event.body)
        return headers

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status in _BUSY or status >= 500:
            raise EndpointUnavailable(f"{self.target} answers {status}")
        if 300 <= status < 400:
            raise EventRefused(f"{self.target} answers {status}: redirects are not followed, give the address it leads to")
        raise EventRefused(f"{self.target} answers {status}")


def signing_key(secret: str, where: str) -> bytes:
    """The key that a secret means: `whsec_` and base64, as Standard Webhooks writes it, or any text. Raises ConfigError."""
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError(f"{where}: secret: base64 is expected after {_SECRET_PREFIX}") from None


def sign(key: bytes, name: str, timestamp: str, body: bytes) -> str:
    """Standard Webhooks' signature of a message: HMAC-SHA256 of its id, its time and its body."""
    digest = hmac.digest(key, b".".join((name.encode(), timestamp.encode(), body)), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _reason(error: HTTPError) -> str:
    """What happened, without the address: its path may hold a password."""
    cause = error.__cause__ or error.__context__ or error
    text = getattr(cause, "strerror", None)
    return f"{type(error).__name__}: {text}" if isinstance(text, str) else type(error).__name__
