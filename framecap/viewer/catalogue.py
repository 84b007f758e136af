"""A store's search index in, kept up to date while the page is open; what was said, found by words or by day, out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from framecap.errors import ConfigError, IndexUnavailable, MissingError, StoreUnavailable
from framecap.telemetry import mask
from framecap.timeline.search.failures import FailedFrame, FailedPage
from framecap.timeline.search.hits import Hit, HitPage
from framecap.timeline.search.index import Index

logger = logging.getLogger(__name__)

_PAGE = 500  # failed frames
_SHARE = 0.1  # of the time, at most, is spent on updates
_PAUSE_SECONDS = 1.0  # between two updates, at least
_EVERY_SECONDS = 60.0  # though nothing was told of: what others replace or delete is seen then
_AGAIN_SECONDS = 15.0  # where it cannot be updated now


class Catalogue:
    """The index, and the thread that updates it when the feed tells of something new. Safe to use from several threads."""

    def __init__(self, index: Index, on_change: Callable[[], None]) -> None:
        self._index = index
        self._on_change = on_change
        self._failures: int | None = None
        self._news = threading.Event()
        self._full = False
        self._read = 0
        self._whole = False
        self._failure: str | None = None

    def tell(self) -> None:
        """Something was committed."""
        self._news.set()

    def tell_all(self) -> None:
        """Sidecars were replaced, perhaps far behind their cameras' newest: look at everything."""
        self._full = True
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            self._news.clear()
            began = time.monotonic()
            pause = self._update()
            took = time.monotonic() - began
            if stop.wait(max(pause, took * (1 / _SHARE - 1))):
                return
            self._wait_for_news(stop)

    def _update(self) -> float:
        try:
            full, self._full = self._full, False
            self._index.update(full, self._count)
            failures = sum(self._index.failed(limit=0).kinds.values())
        except (StoreUnavailable, IndexUnavailable, ConfigError, MissingError) as error:
            if self._failure is None:
                logger.warning("the search index is not up to date: %s", error)
            self._failure = mask(str(error))
            return _AGAIN_SECONDS
        if failures != self._failures:
            self._failures = failures
            self._on_change()
        self._whole, self._failure = True, None
        return _PAUSE_SECONDS

    def _count(self) -> None:
        self._read += 1

    def _wait_for_news(self, stop: threading.Event) -> None:
        until = time.monotonic() + _EVERY_SECONDS
        while not (stop.is_set() or time.monotonic() >= until) and not self._news.wait(0.25):
            pass

    def snapshot(self) -> dict[str, Any]:
        """Whether everything is in it by now; how many sidecars were read into it; what is wrong."""
        return {"whole": self._whole, "read": self._read, "failure": self._failure}

    def search(self, words: str, camera: str | None, since: float | None, until: float | None, limit: int) -> HitPage:
        """The best of the newest hits; without words, the newest. Times are Unix seconds. Raises IndexUnavailable."""
        return self._index.search(words, camera, _moment(since), _moment(until), limit)

    def timeline(
        self, camera: str | None, since: float | None, until: float | None, limit: int, before: int | None
    ) -> HitPage:
        """What the camera saw, the newest first, from the place `before` on: each hit is an interval in which its captions
        say the same."""
        return self._index.search("", camera, _moment(since), _moment(until), limit, newest=True, before=before)

    def failed(self, kind: str | None, before: int | None, limit: int) -> FailedPage:
        """See Index.failed."""
        return self._index.failed(kind, before, limit)

    def failed_keys(self, kind: str | None) -> Iterator[str]:
        """Of all of them, a page at a time."""
        before: int | None = None
        while True:
            page = self._index.failed(kind, before, _PAGE)
            yield from (frame.key for frame in page.frames)
            if page.before is None:
                return
            before = page.before

    def failures(self) -> int | None:
        """How many frames have failed; None where that is not known."""
        return self._failures


def as_json(hit: Hit) -> dict[str, Any]:
    """For the page: times as Unix seconds."""
    return {**asdict(hit), "start": hit.start.timestamp(), "end": hit.end.timestamp()}


def failed_as_json(frame: FailedFrame) -> dict[str, Any]:
    """The same of a failed frame, as `Shown` has it."""
    return {
        "key": frame.key,
        "camera": frame.camera,
        "captured_at": frame.at.timestamp(),
        "position": frame.position,
        "status": "failed",
        "kind": frame.kind,
        "reason": mask(frame.message),
        "mark": "",
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
