"""Who may see the page, and what its answers forbid a browser."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from framecap.errors import ConfigError
from framecap.viewer import access, protocol
from framecap.viewer.access import is_loopback_host
from tests.viewer.served import Page, captioned_frame, page_over

TOKEN = "a-token-that-nobody-guesses"
OURS = {"X-Framecap": "retry"}


@pytest.fixture
def guarded(frames: Path, tmp_path: Path) -> Iterator[Page]:
    with page_over(frames, tmp_path / "index", token=TOKEN) as page:
        yield page


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/health", "/api/frame?key=..%2Fx.jpg", "/nothing"])
def test_every_answer_has_the_headers_that_keep_a_page_to_itself(page: Page, path: str) -> None:
    headers = page.ask(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[", "10.0.0.5"])
def test_another_name_than_this_machine_s_is_refused(page: Page, host: str) -> None:
    assert page.ask("/api/health", headers={"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.53:80", "[::1]:8080"])
def test_this_machine_s_names_are_answered(page: Page, host: str) -> None:
    assert page.ask("/api/health", headers={"Host": host}).status == 200


def test_only_the_page_itself_may_retry(page: Page) -> None:
    assert page.ask("/api/retry", "POST").status == 403
    assert page.ask("/api/retry", "POST", {**OURS, "Sec-Fetch-Site": "cross-site"}).status == 403
    assert page.ask("/api/retry", "POST", {**OURS, "Sec-Fetch-Site": "same-site"}).status == 403
    assert page.ask("/api/retry", "GET", OURS).status == 405
    assert page.ask("/api/retry", "POST", {**OURS, "Sec-Fetch-Site": "same-origin"}).status == 202


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_elsewhere_than_on_this_machine_a_token_is_needed(frames: Path, tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"viewer\.token"), page_over(frames, tmp_path / "index", host=host):
        pass


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_which_addresses_are_this_machine_s_own(host: str, is_local: bool) -> None:
    assert is_loopback_host(host) is is_local


def test_without_the_token_nothing_is_shown(guarded: Page, frames: Path) -> None:
    key = captioned_frame(frames, "door", 0, "A dog.")
    for path in ("/api/cameras", "/api/news", "/small", "/image", "/sidecar", "/static/page.js", "/api/health"):
        for headers in (
            {},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Cookie": "framecap=x"},
            {"Cookie": f"framecap={TOKEN}"},
        ):
            assert guarded.ask(path, headers=headers, key=key).status == 401
    assert guarded.ask("/api/retry", "POST", OURS).status == 401
    asked = guarded.ask("/", headers={"Accept": "text/html"})
    assert (asked.status, asked.headers["location"]) == (303, "/login")


def test_with_the_token_everything_is(guarded: Page) -> None:
    assert guarded.ask("/api/health", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    # whoever knows the token may come through a proxy, under any name
    assert guarded.ask("/api/health", headers={"Authorization": f"Bearer {TOKEN}", "Host": "cams.example"}).status == 200


def test_the_form_gives_a_cookie_that_is_not_the_token(guarded: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert guarded.ask("/login").status == 200
    wrong = guarded.ask("/login", "POST", form, "token=wrong")
    assert wrong.status == 401
    assert b"not the token" in wrong.body
    right = guarded.ask("/login", "POST", form, f"token={TOKEN}")
    assert (right.status, right.headers["location"]) == (303, "/")
    cookie = SimpleCookie(right.headers["set-cookie"])["framecap"]
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "strict"
    assert TOKEN not in right.headers["set-cookie"]
    assert guarded.ask("/api/health", headers={"Cookie": f"framecap={cookie.value}"}).status == 200
    assert TOKEN not in caplog.text


def test_a_form_of_another_site_or_without_end_is_refused(guarded: Page) -> None:
    assert guarded.ask("/login", "POST", {"Sec-Fetch-Site": "cross-site"}, f"token={TOKEN}").status == 403
    assert guarded.ask("/login", "POST", {}, "token=" + "x" * 10_000).status == 413


def test_an_address_without_end_is_refused(page: Page) -> None:
    assert page.ask("/api/frame", key="x" * 10_000).status == 414


def test_a_connection_without_whole_headers_ends(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of them would take everybody's place; what was answered once may be silent as long as it is kept."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    host, port = urlsplit(page.address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert half.recv(100) == b""
    with page.news() as news:  # an answer that goes on is no connection without headers
        monkeypatch.undo()
        next(news)


def test_a_form_that_never_comes_ends_its_connection(guarded: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_BODY_SECONDS", 0.3)
    host, port = urlsplit(guarded.address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        silent.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\ntoken=")
        answer = b"".join(iter(lambda: silent.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


def test_a_form_of_many_fields_is_no_token(guarded: Page) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    assert guarded.ask("/login", "POST", form, "a=1&b=2&c=3&d=4&e=5").status == 413
