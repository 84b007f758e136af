"""A store's listing in, again and again; what is pending, since when, and how many frames are done out. None is read."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from framecap.config import IngestConfig
from framecap.errors import StoreUnavailable
from framecap.stores.base import Store
from framecap.stores.listing import Listing, pairs

logger = logging.getLogger(__name__)

_SHARE = 0.05  # of the time, at most, is spent on listing
_SMALL_SHARE = 0.01  # a store whose full listing takes no more is listed in full every time
_SAY_AGAIN_SECONDS = 30.0  # that it was listed, though nothing has changed
_KNOWN = 100_000  # pending frames that are known by name; of more, only the number


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """How the store stands. Times are Unix seconds; None: not known yet, or none is pending.

    `frames` and `done` are of the last full listing; `pending` and `oldest` are newer, where `at_least` is not set.
    """

    pending: int | None = None
    oldest: float | None = None
    at_least: bool = False
    frames: int | None = None
    done: int | None = None
    listed_at: float | None = None
    failure: str | None = None


class StoreStatusWatcher:
    """Lists the store in a thread of its own: what is new every few seconds, everything now and then."""

    def __init__(self, config: IngestConfig, store: Store, on_change: Callable[[], None]) -> None:
        self._config = config
        self._store = store
        self._on_change = on_change
        self._listing = Listing(store, timedelta(seconds=config.lookback_seconds))
        self._lock = threading.Lock()
        self._pending: dict[str, float] = {}
        self._beyond = 0  # pending frames that are not known by name
        self._snapshot = StoreSnapshot()

    @property
    def snapshot(self) -> StoreSnapshot:
        return self._snapshot

    def committed(self, key: str) -> None:
        """A frame has its sidecar, as somebody else found."""
        with self._lock:
            known = self._pending.pop(key, None)
        if known is not None:
            self._publish()

    def run(self, stop: threading.Event) -> None:
        next_full = -math.inf
        while not stop.is_set():
            began = time.monotonic()
            full = began >= next_full
            try:
                self._scan(full, stop)
            except StoreUnavailable as error:
                if self._snapshot.failure is None:
                    logger.warning("cannot list the store, will try again: %s", error)
                self._publish(failure=str(error))
                next_full = -math.inf
            took = time.monotonic() - began
            if full and self._snapshot.failure is None:
                next_full = began + min(took / _SMALL_SHARE, max(self._config.full_scan_seconds, took / _SHARE))
            stop.wait(max(self._config.scan_seconds, took / _SHARE if not full else 0.0))

    def _scan(self, full: bool, stop: threading.Event) -> None:
        frames = done = beyond = 0
        pending: dict[str, float] = {}
        gone: list[str] = []
        for frame, sidecar in pairs(self._listing.full() if full else self._listing.incremental()):
            if stop.is_set():
                return
            frames += 1
            if sidecar is not None and sidecar.size > 0:
                done += 1
                gone.append(frame.key)
            elif len(pending) < _KNOWN:
                pending[frame.key] = frame.modified
            else:
                beyond += 1
        with self._lock:
            if full:
                self._pending, self._beyond = pending, beyond
            else:
                for key in gone:
                    self._pending.pop(key, None)
                self._pending |= pending
        self._publish(counted=(frames, done) if full else None)

    def _publish(self, counted: tuple[int, int] | None = None, failure: str | None = None) -> None:
        before, now = self._snapshot, time.time()
        with self._lock:
            frames, done = counted or (before.frames, before.done)
            snapshot = StoreSnapshot(
                pending=len(self._pending) + self._beyond,
                oldest=min(self._pending.values(), default=None),
                at_least=self._beyond > 0,
                frames=frames,
                done=done,
                listed_at=before.listed_at,
                failure=failure,
            )
            is_news = snapshot != before
            if counted and (is_news or now - (before.listed_at or 0) > _SAY_AGAIN_SECONDS):
                snapshot = replace(snapshot, listed_at=now)
            self._snapshot = snapshot
        if snapshot != before:
            self._on_change()
