"""Captured frames that know their place in the order, and queues of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from framecap.capture.captured import CapturedFrame
from framecap.capture.overflow import FrameQueue
from framecap.frames import FrameName

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def frame(number: int, camera: str = "cam", live: bool = True, size: int = 0) -> CapturedFrame:
    """Each a second after the one before; `size` is that of its image, at least."""
    return CapturedFrame(FrameName(camera, NOON + timedelta(seconds=number), number), b"%d" % number + bytes(size), live)


def number_of(captured: CapturedFrame) -> int:
    return captured.name.sequence


def drain(queue: FrameQueue) -> list[int]:
    """Close it and take what is there."""
    queue.close()
    numbers = []
    while (captured := queue.get()) is not None:
        numbers.append(number_of(captured))
        queue.done()
    return numbers
