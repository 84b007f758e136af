"""Small images: made once, kept within bounds, and not all at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from framecap.config import StoreConfig, WorkerConfig
from framecap.errors import FramecapError, FrameGone, OversizedFrame, StoreUnavailable, UndecodableFrame
from framecap.stores import open_store
from framecap.viewer import images
from framecap.viewer.images import ImageCache
from tests.decoding.image_files import RGBA, png
from tests.viewer.served import jpeg, key_of, put_frame


@pytest.fixture
def making(frames: Path) -> Iterator[ImageCache]:
    one = ImageCache(open_store(StoreConfig(frames=str(frames))), WorkerConfig(max_pixels=1_000_000))
    yield one
    one.close()


def test_an_image_that_is_replaced_is_made_anew(making: ImageCache, frames: Path) -> None:
    put_frame(frames, key_of("door", 0), jpeg(20))
    dark = making.small(key_of("door", 0))
    assert making.small(key_of("door", 0)) is dark
    put_frame(frames, key_of("door", 0), jpeg(220, width=66))
    assert making.small(key_of("door", 0)).data != dark.data


def test_what_is_kept_is_bounded(making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in range(4):
        put_frame(frames, key_of("door", second))
    monkeypatch.setattr(images, "KEPT_BYTES", 2 * len(making.small(key_of("door", 0)).data))
    kept = [making.small(key_of("door", second)) for second in range(4)]
    assert making.small(key_of("door", 3)) is kept[3]
    assert making.small(key_of("door", 0)) is not kept[0]
    assert making._kept_bytes <= images.KEPT_BYTES


def test_one_that_many_ask_for_is_made_once(making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_frame(frames, key_of("door", 0))
    make, made, together = making._make, [], threading.Barrier(4)

    def counted(key: str) -> images.ServedImage:
        made.append(key)
        together.wait(10)
        return make(key)

    monkeypatch.setattr(making, "_make", counted)
    found: list[images.ServedImage] = []
    threads = [threading.Thread(target=lambda: found.append(making.small(key_of("door", 0)))) for _ in range(4)]
    for thread in threads[:1]:
        thread.start()
    while not made:
        pass
    for thread in threads[1:]:
        thread.start()
    for _ in range(3):
        threading.Thread(target=together.wait, args=(10,)).start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({one.data for one in found}) == len(made) == 1


def test_too_many_at_once_are_refused(making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_frame(frames, key_of("door", 0))
    monkeypatch.setattr(images, "MAX_WAITING", 0)
    with pytest.raises(StoreUnavailable, match="too many"):
        making.small(key_of("door", 0))


def test_an_image_that_is_too_large_is_not_handed_out(making: ImageCache, frames: Path) -> None:
    put_frame(frames, key_of("door", 0), jpeg(width=1001, height=1000))
    for asked in (making.own, making.small):
        with pytest.raises(OversizedFrame):
            asked(key_of("door", 0))


def test_a_refusal_is_remembered_for_a_while(making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try of a frame that hangs its decoder would take it from all others for as long again."""
    put_frame(frames, key_of("door", 0), b"<html>")
    make, tried = making._make, []
    monkeypatch.setattr(making, "_make", lambda key: tried.append(key) or make(key))  # type: ignore[func-returns-value]
    for _ in range(3):
        with pytest.raises(UndecodableFrame, match="<html>"):
            making.small(key_of("door", 0))
    assert len(tried) == 1
    monkeypatch.setattr(images, "REFUSAL_SECONDS", 0.0)
    with pytest.raises(UndecodableFrame):
        making.small(key_of("door", 0))
    assert len(tried) == 2


def test_a_refused_frame_that_is_replaced_is_tried_again(making: ImageCache, frames: Path) -> None:
    put_frame(frames, key_of("door", 0), b"<html>")
    with pytest.raises(UndecodableFrame):
        making.small(key_of("door", 0))
    put_frame(frames, key_of("door", 0))
    assert making.small(key_of("door", 0)).media_type == "image/jpeg"


def test_what_is_remembered_of_refusals_is_bounded(
    making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_REFUSALS", 2)
    for second in range(4):
        put_frame(frames, key_of("door", second), b"<html>")
        with pytest.raises(UndecodableFrame):
            making.small(key_of("door", second))
    assert len(making._refused) == 2


@pytest.mark.parametrize("error", [StoreUnavailable("away"), FrameGone("gone")])
def test_what_is_no_fault_of_the_image_is_not_remembered(
    making: ImageCache, frames: Path, monkeypatch: pytest.MonkeyPatch, error: FramecapError
) -> None:
    put_frame(frames, key_of("door", 0))
    make = making._make

    def fail(_: str) -> images.ServedImage:
        raise error

    monkeypatch.setattr(making, "_make", fail)
    with pytest.raises(type(error)):
        making.small(key_of("door", 0))
    monkeypatch.setattr(making, "_make", make)
    assert making.small(key_of("door", 0)).data


@pytest.mark.faults(12)
def test_an_image_that_costs_too_much_memory_is_not_handed_out(making: ImageCache, frames: Path) -> None:
    put_frame(frames, "door/deep.png", png(np.zeros((750, 750, 4), np.uint16), RGBA, 16))
    for asked in (making.own, making.small):
        with pytest.raises(OversizedFrame, match="bytes each"):
            asked("door/deep.png")


def test_closed_nothing_is_made(making: ImageCache, frames: Path) -> None:
    put_frame(frames, key_of("door", 0))
    making.close()
    with pytest.raises(StoreUnavailable):
        making.small(key_of("door", 0))
