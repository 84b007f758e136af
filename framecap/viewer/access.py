"""A request in; let through, with the headers that keep a page to itself, or answered here: who may see what.

On this machine's own address nobody is asked for a token, so the Host header must name this machine: a page of somebody
else's, whose name was made to lead here (DNS rebinding), is refused. With a token, whoever has no cookie of ours is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

COOKIE = "framecap"
OWN_HEADER = "x-framecap"  # no page of another origin can send it without asking first, and is refused then
_COOKIE_SECONDS = 30 * 86_400
_MAX_BODY = 4096  # bytes
_BODY_SECONDS = 10.0  # for all of it; connections whose forms never come would take everybody's place
_MAX_PATH = 8192
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
_OPEN_PATHS = ("/login", "/static/login.css", "/static/icon.svg")

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_LOGIN_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>framecap</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/login.css">
<main>
<h1><img src="/static/icon.svg" alt="" width="36" height="36"> framecap</h1>
<form method="post" action="/login">
<input name="username" autocomplete="username" value="framecap" hidden>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus{invalid}>
{problem}
<button>Open the page</button>
</form>
<p>It is the setting viewer.token of the machine that serves this page.</p>
</main>
</html>
"""
_WRONG = '<p class="problem" id="problem" role="alert">This is not the token.</p>'


class Access:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app = app
        self._names = frozenset({host.casefold(), *_LOCAL_NAMES})
        self._token = token
        self._cookie = None if token is None else hmac.digest(token.encode(), b"framecap viewer cookie", "sha256").hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(Request(scope, receive))
            await (answer or self._app)(scope, receive, _with_headers(send))
        except ClientDisconnect:
            pass
        except Exception:  # which the application has answered with 500
            logger.exception("this should not have happened: %s", ascii(scope["path"]))

    async def _answer(self, request: Request) -> Response | None:
        """What is answered here; None: the request goes on to the application."""
        path = request.scope["path"]
        refusal = self._refusal(request, path)
        if refusal is None and path == "/login" and self._token is not None:
            return await self._login(request)
        return refusal

    def _refusal(self, request: Request, path: str) -> Response | None:
        headers = request.headers
        if self._token is None and not self._names_this_machine(headers.get("host", "")):
            return problem(421, "this page is answered under this machine's own name only: http://127.0.0.1 or localhost")
        if request.method not in ("GET", "HEAD") and not _is_our_own_page(headers, path):
            return problem(403, "only the page itself may ask for this")
        if len(path) + len(request.scope["query_string"]) > _MAX_PATH:
            return problem(414, "the address is too long")
        if self._token is None or path in _OPEN_PATHS or self._is_known(headers):
            return None
        if request.method == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return problem(401, "the token of this page is needed: as its cookie, or as Authorization: Bearer")

    def _names_this_machine(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").casefold()
        except ValueError:
            return False
        return name in self._names or _is_loopback(name)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.casefold() == "bearer" and _same(given.strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, self._cookie)

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(_LOGIN_PAGE.format(problem="", invalid=""))
        try:
            given = parse_qs(await _read(request), max_num_fields=4).get("token", [""])[0]
        except TimeoutError:
            return problem(408, "the form did not come", {"connection": "close"})
        except (ValueError, ClientDisconnect):
            return problem(413, "that is no token")
        if not _same(given, self._token):
            page = _LOGIN_PAGE.format(problem=_WRONG, invalid=' aria-invalid="true" aria-describedby="problem"')
            return HTMLResponse(page, 401)
        assert self._cookie is not None
        answer = RedirectResponse("/", 303)
        is_secure = "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto"))
        answer.set_cookie(COOKIE, self._cookie, _COOKIE_SECONDS, secure=is_secure, httponly=True, samesite="strict")
        return answer


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers


def problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal, in the words that the page shows."""
    return JSONResponse({"error": text}, status, headers)


def is_loopback_host(host: str) -> bool:
    """Whether who listens on this address is reached from this machine only."""
    return host.casefold() in _LOCAL_NAMES or _is_loopback(host)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_our_own_page(headers: Headers, path: str) -> bool:
    """Browsers say where a request comes from; a form cannot send a header of ours, a script of another origin neither."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return path == "/login" or OWN_HEADER in headers


def _same(given: str, expected: str | None) -> bool:
    """In a time that tells nothing of either."""
    if expected is None:
        return False
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "replace")).digest(), hashlib.sha256(expected.encode()).digest()
    )


async def _read(request: Request) -> str:
    body = b""
    async with asyncio.timeout(_BODY_SECONDS):
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BODY:
                raise ValueError
    return body.decode("utf-8")
