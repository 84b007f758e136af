"""An event in, a signed POST out: Standard Webhooks' headers, no redirects, no proxies, a time-out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
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
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, timeout=urllib3.Timeout(connect=timeout, read=timeout))

    def deliver(self, event: Event) -> None:
        try:
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
            raise EndpointUnavailable(f"{self.target} does not answer ({_reason(error)})") from None
        except (UnicodeError, ValueError) as error:
            raise EndpointUnavailable(f"{self.target}: its address cannot be used ({type(error).__name__})") from None
        try:
            answer.read(_MAX_ANSWER)
        except HTTPError:  # what counts was said
            pass
        finally:
            answer.drain_conn() if answer.length_remaining == 0 else answer.close()
            answer.release_conn()
        self._judge(answer.status)

    def close(self) -> None:
        self._pool.clear()

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
