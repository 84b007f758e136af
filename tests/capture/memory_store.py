"""A store in memory, as far as capture needs one, that can be slow, away, or lose its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from framecap.errors import FrameGone, StoreUnavailable
from framecap.stores.base import PutResult


def nothing(key: str) -> None:
    pass


class MemoryStore:
    """`before_put` and `after_put` are called with each key, and may wait or raise."""

    address = "memory"
    directory = None

    def __init__(self) -> None:
        self.frames: dict[str, bytes] = {}
        self.before_put: Callable[[str], None] = nothing
        self.after_put: Callable[[str], None] = nothing
        self._changed = threading.Condition()

    def put_frame(self, key: str, data: bytes) -> PutResult:
        self.before_put(key)
        with self._changed:
            put = PutResult.ALREADY_THERE if key in self.frames else PutResult.STORED
            self.frames.setdefault(key, data)
            self._changed.notify_all()
        self.after_put(key)
        return put

    def read(self, key: str, limit: int) -> bytes:
        try:
            return self.frames[key]
        except KeyError:
            raise FrameGone(key) from None

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        """Until so many frames are stored."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames) >= count, timeout), f"{len(self.frames)} of {count}"

    def in_order(self) -> list[bytes]:
        """The frames in the order of their keys."""
        with self._changed:
            return [self.frames[key] for key in sorted(self.frames)]


def away(tries: int) -> Callable[[str], None]:
    """To be put before or after a put: the store is unavailable so many times."""
    left = iter(range(tries))

    def fail(key: str) -> None:
        if next(left, None) is not None:
            raise StoreUnavailable("the store is away")

    return fail
