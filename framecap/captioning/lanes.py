"""A captioner's lanes and a piece of work in; what the work gives in each of them, done in all at the same time, out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


def in_every_lane(lanes: int, work: Callable[[], Answer]) -> list[Answer]:
    """Do `work` in each of so many threads. They begin together: whoever came later might get a lane that is free again."""
    together = threading.Barrier(lanes)

    def begin(_: int) -> Answer:
        together.wait()
        return work()

    with ThreadPoolExecutor(lanes, "lane") as threads:
        return list(threads.map(begin, range(lanes)))
