"""Sidecars in, as they come; out: the newest of each camera, the last ones of all, and news for any number of listeners.

Everything here is bounded: cameras, the last ones, listeners, and what waits for a slow one. Safe to use from any thread.
"""

from __future__ import annotations

import asyncio
import bisect
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter

from framecap.viewer.live_frame import LiveFrame

MAX_CAMERAS = 10_000
MAX_LISTENERS = 100
MAX_WAITING = 500  # cameras with news that a listener has not fetched; a page shows fewer
LAST = 40


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """What came since a listener last asked, in the order of its coming; `missed`: there was more than could wait."""

    frames: list[LiveFrame]
    missed: bool


class Listener:
    """One page that is open somewhere: news gather here until its connection takes them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._newest: dict[str, LiveFrame] = {}
        self._last: deque[LiveFrame] = deque(maxlen=LAST)
        self._missed = False
        self.there_is_news = asyncio.Event()

    def hear(self, shown: LiveFrame) -> None:
        """Of a frame. Of each camera only the newest waits, and of all the last few."""
        with self._lock:
            self._newest.pop(shown.camera, None)
            if len(self._newest) >= MAX_WAITING:
                self._missed = True
                self._newest.pop(next(iter(self._newest)))
            self._newest[shown.camera] = shown
            self._last.append(shown)
        self.wake()

    def wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.there_is_news.set)

    def take(self) -> LiveUpdate:
        """All that waits."""
        with self._lock:
            frames = {shown.key: shown for shown in (*self._newest.values(), *self._last)}
            news = LiveUpdate(sorted(frames.values(), key=lambda shown: shown.committed_at), self._missed)
            self._newest, self._missed = {}, False
            self._last.clear()
            self.there_is_news.clear()
        return news


def _is_of_the_future(shown: LiveFrame) -> bool:
    """Whether a clock that was ahead made the frame: it would be the newest one until that time comes."""
    return shown.sort_key[0] > time.time()


class LiveState:
    """What the live page shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, LiveFrame] = {}
        self._names: list[str] = []  # of the cameras, sorted
        self._last: list[LiveFrame] = []  # the newest one last
        self._listeners: set[Listener] = set()
        self.is_open = True

    def add(self, shown: LiveFrame) -> None:
        """A sidecar that was committed (or replaced)."""
        with self._lock:
            known = self._newest.get(shown.camera)
            if known is None:
                self._evict()
                bisect.insort(self._names, shown.camera)
            if known is None or known.sort_key <= shown.sort_key or _is_of_the_future(known):
                self._newest[shown.camera] = shown
            self._last = [one for one in self._last if one.key != shown.key]
            bisect.insort(self._last, shown, key=attrgetter("committed_at"))
            del self._last[:-LAST]
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.hear(shown)

    def _evict(self) -> None:
        """Forget the camera that has been silent for longest."""
        if len(self._newest) >= MAX_CAMERAS:
            silent = min(self._newest.values(), key=lambda shown: shown.sort_key).camera
            del self._newest[silent]
            del self._names[bisect.bisect_left(self._names, silent)]

    def cameras(self, after: str, limit: int, containing: str) -> tuple[list[LiveFrame], int]:
        """The newest frame of each camera, a page of them by name, and how many there are in all."""
        wanted = containing.casefold()
        with self._lock:
            names = [name for name in self._names if wanted in name.casefold()]
            start = bisect.bisect_right(names, after) if after else 0
            return [self._newest[name] for name in names[start : start + limit]], len(names)

    def names(self) -> list[str]:
        """Of all cameras, sorted."""
        with self._lock:
            return list(self._names)

    def last(self) -> list[LiveFrame]:
        """What was committed last, of all cameras, the newest first."""
        with self._lock:
            return list(reversed(self._last))

    @contextmanager
    def listening(self) -> Iterator[Listener | None]:
        """Within, a listener hears of what is added; None where there are too many already. For a task of an event loop."""
        listener = Listener(asyncio.get_running_loop())
        with self._lock:
            if len(self._listeners) >= MAX_LISTENERS:
                refused = True
            else:
                refused = False
                self._listeners.add(listener)
        try:
            yield None if refused else listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def wake(self) -> None:
        """Have every listener look: something else than frames has changed."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.wake()

    def close(self) -> None:
        """Nothing more comes: whoever listens is to go."""
        self.is_open = False
        self.wake()
