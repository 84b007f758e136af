"""Segments: what says the same is one interval; when an interval ends; laws of every timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.sidecars.sidecar import Sidecar
from framecap.timeline.segments import FIRST_STEP, GAP, Segment, Segmenter, same_words, segments
from tests.sidecars.committing import MODEL, NOON, SECOND, make, own


def seen(second: float, caption: str | None, camera: str = "door", **changed: Any) -> Sidecar:
    return make(own(camera, NOON + second * SECOND), caption=caption, **changed)


def spans(sidecars: list[Sidecar]) -> list[tuple[float, float, str]]:
    return [((each.start - NOON) / SECOND, (each.end - NOON) / SECOND, each.caption) for each in segments(sidecars)]


def test_five_sidecars_of_one_scene_read_as_one_line() -> None:
    (only,) = segments([seen(number, "A dog runs.", confidence=number / 10) for number in range(5)])
    assert (only.start, only.end, only.frames) == (NOON, NOON + 5 * SECOND, 5)
    assert (only.caption, only.confidence, only.key) == ("A dog runs.", 0.4, own("door", NOON + 4 * SECOND))
    assert (only.first_key, only.last_key) == (own("door", NOON), own("door", NOON + 4 * SECOND))


def test_a_segment_lasts_until_the_next_begins() -> None:
    assert spans([seen(0, "A dog."), seen(2, "A dog."), seen(4, "A cat."), seen(7, "A dog.")]) == [
        (0, 4, "A dog."),
        (4, 7, "A cat."),
        (7, 10, "A dog."),  # one step, as between its camera's last two frames
    ]


@pytest.mark.parametrize("other", ["a dog", "A  DOG.", "A dog!", " a dog.. "])
def test_what_says_the_same(other: str) -> None:
    assert len(spans([seen(0, "A dog."), seen(1, other)])) == 1


@pytest.mark.parametrize("other", ["A cat.", "A dog runs.", "Dog", "A do g."])
def test_what_does_not_say_the_same(other: str) -> None:
    assert len(spans([seen(0, "A dog."), seen(1, other)])) == 2


def test_where_frames_stop() -> None:
    gap = GAP / SECOND
    assert spans([seen(0, "A dog."), seen(2, "A dog."), seen(2 + gap, "A dog.")]) == [(0, 2 + 2 * gap, "A dog.")]
    assert spans([seen(0, "A dog."), seen(2, "A dog."), seen(2.5 + gap, "A dog.")]) == [
        (0, 4, "A dog."),
        (2.5 + gap, 2.5 + gap + 1, "A dog."),
    ]


def test_a_frame_without_a_caption_says_nothing() -> None:
    assert spans([seen(0, "A dog."), seen(1, None), seen(2, "A dog."), seen(3, None)]) == [(0, 4, "A dog.")]
    assert spans([seen(0, None)]) == []
    silent = [seen(second, None) for second in range(1, 70)]
    assert len(spans([seen(0, "A dog."), *silent, seen(70, "A dog.")])) == 2


def test_a_duplicate_says_what_its_frame_says() -> None:
    copy = seen(1, "A dog.", status="duplicate", duplicate_of=own("door", NOON))
    assert spans([seen(0, "A dog."), copy]) == [(0, 2, "A dog.")]


def test_cameras_do_not_end_each_others_segments() -> None:
    found = list(segments([seen(0, "A dog."), seen(0.5, "A cat.", "yard"), seen(1, "A dog."), seen(1.5, "A cat.", "yard")]))
    assert [(each.camera, each.frames) for each in found] == [("door", 2), ("yard", 2)]


def test_two_recordings_under_one_name() -> None:
    """The second one began when the first one was not over: their times overlap."""
    first = [seen(second, "A dog.", position=second) for second in range(3)]
    second = [seen(2.5 + number, "A dog.", position=number) for number in range(2)]
    found = list(segments([*first, *second]))
    assert [(each.position, each.end_position, each.recording) for each in found] == [
        (0, 3, NOON),
        (0, 2, NOON + 2.5 * SECOND),
    ]


def test_uncertain_is_what_the_surest_frame_is() -> None:
    (only,) = segments(
        [seen(0, "A dog.", confidence=0.3, uncertain=True), seen(1, "A dog.", confidence=0.6, uncertain=False)]
    )
    assert only.uncertain is False


def test_the_open_segment_can_be_seen() -> None:
    segmenter = Segmenter()
    assert segmenter.add(seen(0, "A dog.")) is None
    (now,) = segmenter.open()
    assert (now.caption, now.end) == ("A dog.", NOON + FIRST_STEP)
    ended = segmenter.add(seen(3, "A cat."))
    assert ended is not None
    assert ended.end == NOON + 3 * SECOND
    assert [each.caption for each in segmenter.end()] == ["A cat."]
    assert segmenter.open() == []


moments = st.lists(
    st.tuples(
        st.sampled_from(["door", "yard"]),
        st.integers(0, 100_000).map(lambda tenths: tenths / 10),
        st.sampled_from(["A dog.", "a dog", "A cat.", None]),
    ),
    max_size=40,
    unique_by=lambda moment: moment[:2],
)


@given(moments)
def test_laws_of_every_timeline(drawn: list[tuple[str, float, str | None]]) -> None:
    sidecars = [seen(second, caption, camera) for camera, second, caption in sorted(drawn, key=lambda each: each[1])]
    found = list(segments(sidecars))
    captioned = [each for each in sidecars if each.caption is not None]
    assert sum(each.frames for each in found) == len(captioned)
    for camera in ("door", "yard"):
        mine = [each for each in found if each.camera == camera]
        for each in mine:
            assert each.start < each.end
        for one, next_one in pairwise(mine):
            assert one.end <= next_one.start
            assert one.end < next_one.start or same_words(one.caption) != same_words(next_one.caption)
    for sidecar in captioned:
        holding = [each for each in found if _holds(each, sidecar)]
        assert len(holding) == 1
        assert same_words(holding[0].caption) == same_words(sidecar.caption or "")
    assert list(segments(each for each in sidecars if each.caption)) == found


def _holds(segment: Segment, sidecar: Sidecar) -> bool:
    return segment.camera == sidecar.frame.camera and segment.start <= sidecar.frame.captured_at < segment.end


@given(moments, st.integers(1, 1000))
def test_time_moves_with_its_frames(drawn: list[tuple[str, float, str | None]], later: int) -> None:
    def timeline(shift: timedelta) -> list[tuple[Any, ...]]:
        sidecars = [
            make(own(camera, NOON + second * SECOND + shift), caption=caption)
            for camera, second, caption in sorted(drawn, key=lambda each: each[1])
        ]
        return [(each.camera, each.start - shift, each.end - shift, each.caption) for each in segments(sidecars)]

    assert timeline(timedelta()) == timeline(later * SECOND)


def test_the_model_is_no_matter() -> None:
    other = MODEL.model_copy(update={"bundle": "1" * 64})
    assert len(spans([seen(0, "A dog."), seen(1, "A dog.", model=other)])) == 1


def test_a_wrong_clock_says_any_year() -> None:
    first, last = (at.replace(tzinfo=UTC) for at in (datetime.min, datetime.max))
    (segment,) = segments([make("a.jpg", first, "A dog.", position=1e9)])
    assert (segment.recording, segment.end) == (first, first + SECOND)
    (segment,) = segments([make("a.jpg", last, "A dog.", position=0)])
    assert (segment.recording, segment.end) == (last, last)
