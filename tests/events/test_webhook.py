"""Webhooks to a real server: signed as others verify it, no redirect followed, no secret shown."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook as Verifier

from framecap.config import WebhookConfig
from framecap.errors import ConfigError, EndpointUnavailable, EventRefused
from framecap.events.webhook import Webhook
from tests.events.endpoint import Endpoint, serving_endpoint
from tests.events.factory import an_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving_endpoint() as one:
        yield one


def webhook(url: str, secret: str | None = SECRET, timeout: float = 5.0) -> Webhook:
    config = WebhookConfig(url=SecretStr(url), secret=None if secret is None else SecretStr(secret))
    return Webhook(config, timeout, "rule 'dog': webhook")


def test_what_is_posted_verifies_by_the_standard_s_own_library(endpoint: Endpoint) -> None:
    event = an_event(caption="Ein Hund läuft.")
    hook = webhook(f"{endpoint.url}/hook?a=b")
    hook.deliver(event)
    hook.deliver(event)
    hook.close()
    for posted in endpoint.posted:
        assert posted.path == "/hook?a=b"
        assert Verifier(SECRET).verify(posted.body, posted.headers)["caption"] == "Ein Hund läuft."
        assert posted.headers["webhook-id"] == event.id == json.loads(posted.body)["id"]
        assert posted.headers["content-type"] == "application/json"


def test_a_secret_may_be_any_text_and_none_means_no_signature(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "tell nobody")
    webhook(endpoint.url, "${HOOK_SECRET}").deliver(an_event())
    webhook(endpoint.url, None).deliver(an_event())
    signed, plain = endpoint.posted
    Verifier(base64.b64encode(b"tell nobody").decode()).verify(signed.body, signed.headers)
    assert "webhook-signature" not in plain.headers


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, None) for status in (200, 202, 204)),
        *((status, EventRefused) for status in (301, 400, 401, 404, 410)),
        *((status, EndpointUnavailable) for status in (408, 429, 500, 503)),
    ],
)
def test_what_an_answer_means(endpoint: Endpoint, status: int, error: type[Exception] | None) -> None:
    endpoint.answer = lambda posted: status
    if error is None:
        webhook(endpoint.url).deliver(an_event())
    else:
        with pytest.raises(error, match=f"answers {status}"):
            webhook(endpoint.url).deliver(an_event())


def test_no_redirect_is_followed_with_the_signature(endpoint: Endpoint) -> None:
    with serving_endpoint() as elsewhere:
        endpoint.answer = lambda posted: 307
        endpoint.headers = {"Location": f"{elsewhere.url}/stolen"}
        with pytest.raises(EventRefused, match="redirects are not followed"):
            webhook(endpoint.url).deliver(an_event())
        assert elsewhere.posted == []


def test_an_endpoint_that_hangs_or_is_not_there_costs_a_time_out(endpoint: Endpoint) -> None:
    endpoint.answer = endpoint.hang
    with pytest.raises(EndpointUnavailable, match="does not answer"):
        webhook(f"{endpoint.url}/s3cret", timeout=0.2).deliver(an_event())
    with pytest.raises(EndpointUnavailable, match="does not answer") as refused:
        webhook("http://127.0.0.1:1/s3cret").deliver(an_event())
    assert "s3cret" not in str(refused.value)
    with pytest.raises(EndpointUnavailable):
        webhook(f"https{endpoint.url[4:]}/s3cret").deliver(an_event())  # no TLS there
    with pytest.raises(EndpointUnavailable):
        webhook("http://no-such-host.invalid/s3cret").deliver(an_event())


def drip(listener: socket.socket, first: bytes, over: threading.Event) -> None:
    """Answer with what is there at once, and a byte now and then for ever."""
    with listener.accept()[0] as connection:
        connection.recv(1 << 16)
        try:
            connection.sendall(first)
            while not over.wait(0.05):
                connection.sendall(b"x")
        except OSError:  # it was cut off
            pass


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", "not within events.timeout_seconds, 0.5 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", None),  # it was taken, whatever more there is to say
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 60000\r\n\r\n", "answers 503"),
    ],
)
def test_an_endpoint_that_drips_holds_nothing_up(first: bytes, error: str | None) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener, first, over))
        thread.start()
        hook = webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/s3cret", timeout=0.5)
        began = time.monotonic()
        if error is None:
            hook.deliver(an_event())
        else:
            with pytest.raises(EndpointUnavailable, match=error):
                hook.deliver(an_event())
        assert time.monotonic() - began < 10
        hook.close()
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "http:///path"}, "http://host/path or https://host/path is expected"),
        ({"url": "http://h:port/s3cret"}, "http://host/path or https://host/path is expected"),
        ({"url": "https://h/${NO_SUCH_VARIABLE}"}, "there is no variable NO_SUCH_VARIABLE in the environment"),
        ({"url": "https://h/", "secret": "whsec_s3cret!"}, "base64 is expected after whsec_"),
    ],
)
def test_what_is_wrong_is_reported_without_the_secret(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        webhook(**options)
    assert str(refused.value).startswith("rule 'dog': webhook: ")
    assert complaint in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_secret_is_shown_nowhere() -> None:
    config = WebhookConfig(url=SecretStr("https://h/s3cret"), secret=SecretStr("s3cret"))
    assert "s3cret" not in f"{config!r} {config} {config.model_dump(mode='json')}"
    assert webhook("https://user:s3cret@h:8443/s3cret").target == "https://h:8443"
