"""An image that does not change is noticed once, and so is its end."""

from __future__ import annotations

from framecap.capture.frozen import FrozenWatch


def test_frozen_once_then_moving() -> None:
    watch = FrozenWatch(10)
    images = [(b"a", 0), (b"a", 9), (b"a", 10), (b"a", 30), (b"b", 31), (b"b", 40), (b"b", 41), (b"c", 42)]
    assert [watch.see(image, at) for image, at in images] == [
        None,
        None,
        "frozen",
        None,
        "moving",
        None,
        "frozen",
        "moving",
    ]


def test_off() -> None:
    watch = FrozenWatch(0)
    assert [watch.see(b"a", at) for at in range(0, 1000, 100)] == [None] * 10
