"""The board: the newest of each camera, the last ones, and news that wait for nobody without end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.viewer import live_state
from framecap.viewer.live_frame import LiveFrame
from framecap.viewer.live_state import LAST, MAX_LISTENERS, MAX_WAITING, LiveState


def shown(camera: str, second: float, caption: str = "A dog.") -> LiveFrame:
    return LiveFrame(
        key=f"{camera}/{second}.jpg",
        camera=camera,
        captured_at=second,
        committed_at=second,
        position=None,
        status="captioned",
        caption=caption,
        confidence=0.5,
        uncertain=False,
        kind=None,
        reason=None,
        mark="",
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))))
def test_whatever_the_order_the_newest_of_each_camera_is_shown(came: list[tuple[str, int]]) -> None:
    there = LiveState()
    for camera, second in came:
        there.add(shown(camera, second))
    newest = {camera: max(second for name, second in came if name == camera) for camera, _ in came}
    page, total = there.cameras("", 100, "")
    assert {one.camera: one.captured_at for one in page} == newest
    assert total == len(newest)
    assert [one.camera for one in page] == sorted(newest) == there.names()
    assert len({one.key for one in there.last()}) == len(there.last())


def test_a_frame_of_the_future_stays_the_newest_until_the_next_one_comes() -> None:
    there = LiveState()
    there.add(replace(shown("door", 2), captured_at=4e9))
    assert there.cameras("", 9, "")[0][0].captured_at == 4e9
    there.add(shown("door", 1))
    assert there.cameras("", 9, "")[0][0].captured_at == 4e9
    there.add(shown("door", 3))
    assert there.cameras("", 9, "")[0][0].captured_at == 3


def test_a_frame_that_is_done_again_is_shown_anew() -> None:
    there = LiveState()
    there.add(shown("door", 1, "A dog."))
    there.add(replace(shown("door", 1), caption="A cat."))
    assert [one.caption for one in there.cameras("", 9, "")[0]] == ["A cat."]
    assert [one.caption for one in there.last()] == ["A cat."]


def test_the_camera_that_is_silent_for_longest_makes_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_state, "MAX_CAMERAS", 3)
    there = LiveState()
    for second, camera in enumerate("abcda"):
        there.add(shown(camera, second))
    assert there.names() == ["a", "c", "d"]


def test_only_so_many_of_the_last_are_kept() -> None:
    there = LiveState()
    for second in range(2 * LAST):
        there.add(shown("door", second))
    assert [one.captured_at for one in there.last()] == list(reversed(range(LAST, 2 * LAST)))


def test_a_listener_hears_the_newest_of_each_camera_and_the_last_ones_of_all() -> None:
    async def listen() -> None:
        there = LiveState()
        with there.listening() as listener:
            assert listener is not None
            for second in range(3 * LAST):
                there.add(shown("door", second))
            there.add(shown("yard", 5))
            news = listener.take()
            assert len(news.frames) == LAST
            assert not news.missed
            assert listener.take().frames == []
            for number in range(MAX_WAITING + 1):
                there.add(shown(f"camera-{number}", number))
            news = listener.take()
            assert news.missed
            assert len(news.frames) <= MAX_WAITING + LAST
        there.add(shown("door", 0))
        assert listener.take().frames == []

    asyncio.run(listen())


def test_there_are_not_more_listeners_than_allowed() -> None:
    async def listen() -> None:
        there = LiveState()
        open_pages = [there.listening() for _ in range(MAX_LISTENERS)]
        assert all(page.__enter__() for page in open_pages)
        with there.listening() as one_too_many:
            assert one_too_many is None
        open_pages.pop().__exit__(None, None, None)
        with there.listening() as next_one:
            assert next_one is not None

    asyncio.run(listen())
