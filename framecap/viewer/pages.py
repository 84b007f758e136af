"""The live page's parts (see the modules beside this one) in; the web application that answers for them out."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from framecap.errors import (
    DecodeError,
    FramecapError,
    FrameGone,
    IndexUnavailable,
    KeyRefused,
    ModelError,
    StoreUnavailable,
)
from framecap.frames import check_key
from framecap.sidecars.sidecar import Sidecar, decode
from framecap.stores.base import Store
from framecap.telemetry import mask
from framecap.timeline.search.hits import HitPage
from framecap.viewer.access import problem
from framecap.viewer.attention import Attention
from framecap.viewer.catalogue import Catalogue, as_json, failed_as_json
from framecap.viewer.images import ImageCache, ServedImage
from framecap.viewer.live_frame import whole
from framecap.viewer.live_state import Listener, LiveState
from framecap.viewer.neighbours import neighbours
from framecap.viewer.retry_job import RetryJob
from framecap.viewer.store_status import StoreStatusWatcher

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
VIEWS = ("/", "/frame", "/timeline", "/search", "/health")  # one document: its script shows what the address says
_PAGE = 60  # cameras
_MAX_PAGE = 200
_SEGMENTS = 100
_HITS = 40
_FAILED = 50
_MAX_NAMES = 2000  # of cameras to choose from
_GATHER_SECONDS = 0.25  # news of so long go together
_LAST_POSITION = (1 << 63) - 1  # of the index
_FIRST_SECOND = -62_135_596_800  # of the year 1, the first that a time can have
_SILENCE_SECONDS = 15.0  # after so long something is said, so that nobody takes the connection for dead
_THREADS = 16  # that wait for the store
_IMAGE_THREADS = 8  # that wait for small images, apart from the others: frames that are slow to decode hold up nothing else
_KEEP = "private, max-age=31536000, immutable"
_NO_SCRIPTS = "default-src 'none'; sandbox"  # for images that are opened on their own
_NO_SCRIPTS_BUT_STYLE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # for a drawing of ours

T = TypeVar("T")


@dataclass(frozen=True)
class ViewerParts:
    """What the application answers from."""

    store: Store
    live_state: LiveState
    watch: StoreStatusWatcher
    images: ImageCache
    attention: Attention
    retry_job: RetryJob
    catalogue: Catalogue


def make_application(parts: ViewerParts) -> Starlette:
    """The application, without the check of who may see it."""
    return Starlette(
        routes=[
            *(Route(path, _document) for path in VIEWS),
            Mount("/static", StaticFiles(directory=STATIC), name="static"),
            *_Endpoints(parts).routes(),
        ],
        exception_handlers={HTTPException: _http_problem, FramecapError: _framecap_problem, Exception: _any_problem},
    )


async def _document(_: Request) -> Response:
    return Response(await anyio.Path(STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")


class _Endpoints:
    def __init__(self, parts: ViewerParts) -> None:
        self._parts = parts
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._image_threads = anyio.CapacityLimiter(_IMAGE_THREADS)

    def routes(self) -> list[Route]:
        get: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/api/cameras": self.cameras,
            "/api/last": self.last,
            "/api/news": self.news,
            "/api/timeline": self.timeline,
            "/api/search": self.search,
            "/api/failed": self.failed,
            "/api/frame": self.frame,
            "/api/attention": self.attention,
            "/api/health": self.health,
            "/sidecar": self.sidecar,
            "/small": self.small,
            "/image": self.image,
        }
        return [*(Route(path, answer) for path, answer in get.items()), Route("/api/retry", self.retry, methods=["POST"])]

    async def cameras(self, request: Request) -> Response:
        """A page of cameras, by name."""
        after = request.query_params.get("after", "")
        limit = _number(request, "limit", _PAGE, _MAX_PAGE)
        page, total = self._parts.live_state.cameras(after, limit, request.query_params.get("containing", ""))
        return _json({"cameras": [shown.as_json() for shown in page], "total": total})

    async def last(self, _: Request) -> Response:
        """The last frames of all cameras, the newest first."""
        return _json({"frames": [shown.as_json() for shown in self._parts.live_state.last()]})

    async def news(self, _: Request) -> Response:
        """Server-sent events, for as long as the page is open: `frames` and `health`."""
        headers = {"x-accel-buffering": "no"}  # a proxy that gathers them would make them old
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=headers)

    async def _events(self) -> AsyncIterator[str]:
        live_state = self._parts.live_state
        with live_state.listening() as listener:
            if listener is None:
                yield "retry: 30000\n" + _event("full", {})
                return
            health: dict[str, Any] | None = None
            yield "retry: 2000\n: welcome\n\n"
            while live_state.is_open:
                news = listener.take()  # first: what changes from here on wakes us again
                now = self._health()
                if now != health:
                    health = now
                    yield _event("health", now)
                if news.frames or news.missed:
                    frames = [shown.as_json() for shown in news.frames]
                    yield _event("frames", {"frames": frames, "missed": news.missed})
                if not await _there_is_news(listener):
                    yield ": still here\n\n"
                await asyncio.sleep(_GATHER_SECONDS)

    async def timeline(self, request: Request) -> Response:
        """What a camera saw, or all did, between two times: the newest first; and `cameras` to choose from."""
        limit = _number(request, "limit", _SEGMENTS, _MAX_PAGE)
        return self._found(
            await self._wait_for(self._parts.catalogue.timeline, *_wanted(request), limit, _position(request))
        )

    async def search(self, request: Request) -> Response:
        """What was found by words."""
        words = request.query_params.get("q", "")
        wanted = _wanted(request)
        page = await self._wait_for(
            self._parts.catalogue.search, words, *wanted, _number(request, "limit", _HITS, _MAX_PAGE)
        )
        return self._found(page)

    def _found(self, page: HitPage) -> Response:
        return _json(
            {
                "hits": [as_json(hit) for hit in page.hits],
                "more": page.more,
                "before": _as_text(page.before),
                "index": self._parts.catalogue.snapshot(),
                "cameras": self._parts.live_state.names()[:_MAX_NAMES],
            }
        )

    async def failed(self, request: Request) -> Response:
        """The frames that failed, the newest first, a page of them; and how many there are of each kind."""
        kind = request.query_params.get("kind") or None
        page = await self._wait_for(self._parts.catalogue.failed, kind, _position(request), _FAILED)
        return _json(
            {
                "failed": sum(page.kinds.values()),
                "kinds": [{"kind": name, "frames": count} for name, count in page.kinds.items()],
                "frames": [failed_as_json(frame) for frame in page.frames],
                "before": _as_text(page.before),
            }
        )

    async def frame(self, request: Request) -> Response:
        """Everything about one frame."""
        key = _key(request)
        sidecar = await self._sidecar_of(key)
        beside = await self._wait_for(neighbours, self._parts.store, key)
        return _json({**whole(sidecar), **asdict(beside)})

    async def attention(self, request: Request) -> Response:
        """Where the model looked; `none` says why there is nothing to see."""
        sidecar = await self._sidecar_of(_key(request))
        try:
            return _json(await self._wait_for(self._parts.attention.of, sidecar))
        except (ModelError, DecodeError, FrameGone) as error:
            return _json({"none": mask(str(error))})

    async def health(self, _: Request) -> Response:
        """What is pending, what has failed, and how a retry goes."""
        return _json(self._health())

    def _health(self) -> dict[str, Any]:
        snapshot = asdict(self._parts.watch.snapshot)
        snapshot["failure"] = None if snapshot["failure"] is None else mask(snapshot["failure"])
        snapshot["failed"] = self._parts.catalogue.failures()
        return {"address": self._parts.store.address, **snapshot, "retry": asdict(self._parts.retry_job.progress)}

    async def retry(self, request: Request) -> Response:
        """Caption the failed frames again, all or those of a kind."""
        kind = request.query_params.get("kind") or None
        started = self._parts.retry_job.start(self._parts.catalogue.failed_keys(kind))
        return _json({"started": started}, 202 if started else 409)

    async def sidecar(self, request: Request) -> Response:
        """The sidecar as it is stored."""
        key = _key(request)
        data = await self._wait_for(self._parts.store.read_sidecar, key)
        if not data:
            raise FrameGone("this frame has no sidecar")
        return Response(data, media_type="application/json")

    async def small(self, request: Request) -> Response:
        """A small image, kept by the browser where its address says which one it is; a drawing where there is none."""
        try:
            call = partial(self._parts.images.small, _key(request))
            return _image(await anyio.to_thread.run_sync(call, limiter=self._image_threads), request)
        except (DecodeError, FrameGone):  # what there is to say is said beside it, and a list of failed frames is no error
            data = await anyio.Path(STATIC / "no-image.svg").read_bytes()
            return Response(data, media_type="image/svg+xml", headers={"content-security-policy": _NO_SCRIPTS_BUT_STYLE})

    async def image(self, request: Request) -> Response:
        """The frame itself."""
        return _image(await self._wait_for(self._parts.images.own, _key(request)), request)

    async def _sidecar_of(self, key: str) -> Sidecar:
        data = await self._wait_for(self._parts.store.read_sidecar, key)
        if not data:
            raise FrameGone("this frame has no sidecar: it is not captioned yet, or is not there")
        return decode(data, where=ascii(key)).found_at(key)

    async def _wait_for(self, call: Callable[..., T], *arguments: object) -> T:
        return await anyio.to_thread.run_sync(partial(call, *arguments), limiter=self._threads)


async def _there_is_news(listener: Listener) -> bool:
    try:
        await asyncio.wait_for(listener.there_is_news.wait(), _SILENCE_SECONDS)
    except TimeoutError:
        return False
    return True


def _key(request: Request) -> str:
    """The frame that is meant. Raises KeyRefused for what names none."""
    return check_key(request.query_params.get("key", ""))


def _wanted(request: Request) -> tuple[str | None, float | None, float | None]:
    """Camera and times (Unix seconds) that are asked for."""
    return request.query_params.get("camera") or None, _seconds(request, "since"), _seconds(request, "until")


def _position(request: Request) -> int | None:
    """The place from which on a page is to go."""
    text = request.query_params.get("before", "")
    return int(text) if re.fullmatch(r"-?\d{1,19}", text) and abs(int(text)) <= _LAST_POSITION else None


def _as_text(position: int | None) -> str | None:
    """A browser's numbers are too short for it."""
    return None if position is None else str(position)


def _seconds(request: Request, name: str) -> float | None:
    text = request.query_params.get(name, "")
    if not re.fullmatch(r"-?\d{1,11}(\.\d{1,9})?", text):
        return None
    if float(text) < _FIRST_SECOND:
        raise HTTPException(400, f"{name}: this is before the year 1")
    return float(text)


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _json(value: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse({"now": time.time(), **value}, status)


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'now': time.time(), **value}, ensure_ascii=False)}\n\n"


def _image(image: ServedImage, request: Request) -> Response:
    keep = _KEEP if request.query_params.get("mark") else "private, no-cache"
    headers = {"cache-control": keep, "content-security-policy": _NO_SCRIPTS}
    return Response(image.data, media_type=image.media_type, headers=headers)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail)


async def _framecap_problem(_: Request, error: Exception) -> Response:
    match error:
        case KeyRefused():
            return problem(400, "this names no frame of the store")
        case FrameGone():
            return problem(404, mask(str(error)))
        case DecodeError():
            return problem(422, mask(str(error)))
        case StoreUnavailable() | IndexUnavailable():
            return problem(503, mask(str(error)))
    return problem(500, mask(str(error)))


async def _any_problem(_: Request, __: Exception) -> Response:
    return problem(500, "this should not have happened: the log of framecap view says more")
