"""The bounded queue between a camera's reader and its writer: frames in, frames out, and those that overflowed back."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Literal, TypeVar

Policy = Literal["wait", "drop_oldest", "drop_newest"]
Item = TypeVar("Item")


class BoundedQueue(Generic[Item]):
    """First in, first out, for one producer and one consumer thread."""

    def __init__(self, capacity: int, policy: Policy) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._policy = policy
        self._closed = False
        self._released = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> Item | None:
        """Add an item; the item that had to go for it (it may be itself), if any.

        Under `wait` it blocks while the queue is full, until `release`.
        """
        with self._changed:
            if self._policy == "wait":
                self._changed.wait_for(lambda: self._released or len(self._items) < self._capacity)
            full = len(self._items) >= self._capacity
            if full and self._policy == "drop_newest":
                return item
            gone = self._items.popleft() if full and self._policy == "drop_oldest" else None
            self._items.append(item)
            self._changed.notify_all()
            return gone

    def get(self) -> Item | None:
        """The oldest item, waiting for one; None when the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def release(self) -> None:
        """Capture is told to stop: what is still put is taken, though the queue be full."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be put, what is there can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
