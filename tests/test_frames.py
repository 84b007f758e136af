"""Frame keys: make and parse are inverse, keys sort by time, nothing that leaves the store is a key (rows 26 and 27)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap import frames
from framecap.errors import KeyRefused
from framecap.frames import FrameName

cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=zones)
sequences = st.integers(0, 10**12)
names = st.builds(FrameName, cameras, times, sequences)


@given(names)
def test_a_key_says_what_it_was_made_from(name: FrameName) -> None:
    key = frames.make_key(name)
    parsed = frames.parse_key(key)
    assert parsed == FrameName(name.camera, name.captured_at.astimezone(UTC), name.sequence)
    assert frames.camera_of(key) == name.camera
    assert frames.check_key(key) == key
    assert frames.frame_key_of(frames.sidecar_key(key)) == key


@given(cameras, st.lists(times, min_size=2, max_size=20))
def test_keys_of_a_camera_sort_by_time(camera: str, at: list[datetime]) -> None:
    ordered = sorted(at)
    keys = [frames.make_key(FrameName(camera, time, 7)) for time in ordered]
    assert keys == sorted(keys)
    assert [key.encode() for key in keys] == sorted(key.encode() for key in keys)


@pytest.mark.faults(26)
@given(cameras, times, st.sets(sequences, min_size=2, max_size=10))
def test_frames_of_one_microsecond_differ(camera: str, at: datetime, numbers: set[int]) -> None:
    assert len({frames.make_key(FrameName(camera, at, number)) for number in numbers}) == len(numbers)


@pytest.mark.faults(26)
@given(cameras, times, st.integers(0, 1000))
def test_a_clock_that_jumps_back_makes_no_key_twice(camera: str, at: datetime, first: int) -> None:
    jumps = [0, 3600, 0, -3600, 0]
    keys = [
        frames.make_key(FrameName(camera, at + timedelta(seconds=jump), first + number)) for number, jump in enumerate(jumps)
    ]
    assert len(set(keys)) == len(keys)


@given(names, st.integers(0, 7200))
def test_nothing_newer_sorts_below_the_low_watermark(name: FrameName, lookback: int) -> None:
    mark = frames.low_watermark(frames.make_key(name), timedelta(seconds=lookback))
    assert mark is not None
    late = FrameName(name.camera, name.captured_at - timedelta(seconds=lookback), 0)
    early = FrameName(name.camera, name.captured_at - timedelta(seconds=lookback, microseconds=1), 0)
    assert frames.make_key(early) < mark < frames.make_key(late)


@pytest.mark.parametrize(
    "key",
    [
        "door/2026/11/22/10/door-20261122T100000.000000-00000001.jpg",  # no Z
        "door/2026/11/22/11/door-20261122T100000.000000Z-00000001.jpg",  # another hour's folder
        "door/2026/11/22/10/gate-20261122T100000.000000Z-00000001.jpg",  # another camera's folder
        "door/2026/13/22/10/door-20261322T100000.000000Z-00000001.jpg",  # no such month
        "x/door/2026/11/22/10/door-20261122T100000.000000Z-00000001.jpg",
        "door/2026/11/22/10/door-20261122T100000.000000Z-00000001.jpg\n",
        "a.jpg",
    ],
)
def test_foreign_keys_are_foreign(key: str) -> None:
    assert frames.parse_key(key) is None
    assert frames.low_watermark(key, timedelta(0)) is None


@pytest.mark.parametrize(("key", "camera"), [("a.jpg", "unsorted"), ("x/a.jpg", "x"), ("x/y/a.jpg", "x")])
def test_the_camera_of_a_foreign_key(key: str, camera: str) -> None:
    assert frames.camera_of(key) == camera


@pytest.mark.faults(27)
@pytest.mark.parametrize(
    "key",
    [
        *("/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "x/./a.jpg", "x//a.jpg", "..", "", "a.jpg/"),
        *("x\n.jpg", "\x00.jpg", "a\x1b[2J.jpg", "x\r/a.jpg", "a\x85.jpg", "a\udcff.jpg"),
        *("a" * 300 + ".jpg", "ä" * 130 + ".jpg", "/".join(["x" * 100] * 11) + "/a.jpg"),
        *("a.txt", "a.jpg.json", ".a.jpg", "x/.hidden/a.jpg", "a.jpg.tmp", "a.part"),
    ],
)
def test_keys_that_are_refused(key: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        frames.check_key(key)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize("key", ["a.jpg", "x/ä ö+%.JPEG", "x/y/z.webp", "a..b.png", "a:b@c.jpg", "漢字.jpg", "-rf.jpg"])
def test_keys_that_are_taken(key: str) -> None:
    assert frames.check_key(key) == key


@given(st.text(max_size=40))
def test_a_key_that_is_taken_stays_below_the_root(text: str) -> None:
    key = f"{text}.jpg"
    try:
        frames.check_key(key)
    except KeyRefused:
        return
    assert not key.startswith("/")
    assert not {"", ".", ".."} & set(key.split("/"))
    key.encode()


def test_the_longest_name_leaves_space_for_the_sidecar_s() -> None:
    name = "a" * (255 - len(".jpg") - len(".json")) + ".jpg"
    assert len(frames.sidecar_key(frames.check_key(name))) == 255
    with pytest.raises(KeyRefused):
        frames.check_key("a" + name)


@pytest.mark.parametrize(
    ("text", "name"),
    [("my video (1)", "my-video-1"), ("übung", "bung"), ("...", "camera"), ("a" * 99, "a" * 64), ("0", "0")],
)
def test_any_text_becomes_a_camera_name(text: str, name: str) -> None:
    assert frames.camera_name(text) == name


@given(st.text())
def test_a_camera_name_makes_keys(text: str) -> None:
    name = FrameName(frames.camera_name(text), datetime(2026, 1, 1, tzinfo=UTC), 0)
    assert frames.parse_key(frames.make_key(name)) == name


def test_what_no_key_is_made_of() -> None:
    with pytest.raises(KeyRefused, match="camera name"):
        frames.make_key(FrameName("a/b", datetime(2026, 1, 1, tzinfo=UTC), 0))
    with pytest.raises(KeyRefused, match="time zone"):
        frames.make_key(FrameName("a", datetime(2026, 1, 1), 0))


@given(st.floats(0, 10**8), st.binary(max_size=50))
def test_a_position_goes_into_a_jpeg_and_comes_back(position: float, rest: bytes) -> None:
    jpeg = b"\xff\xd8" + rest
    marked = frames.embed_position(jpeg, position)
    assert frames.read_position(marked) == pytest.approx(position, abs=1e-6)
    assert marked.startswith(b"\xff\xd8\xff\xfe")
    assert marked.endswith(rest)


@given(st.binary(max_size=60).map(lambda data: b"\xff\xd8\xff\xfe" + data))
def test_a_position_is_read_from_anything(data: bytes) -> None:
    position = frames.read_position(data)
    assert position is None or position >= 0


def test_sorted_keys_of_one_camera_are_strictly_ordered_by_sequence() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [frames.make_key(FrameName("a", at, number)) for number in range(200)]
    assert all(one < two for one, two in pairwise(keys))


def test_a_sequence_too_long_for_a_sidecar_makes_a_key_foreign() -> None:
    key = frames.make_key(FrameName("door", datetime(2026, 11, 22, tzinfo=UTC), 10**18 - 1))
    assert frames.parse_key(key) is not None
    assert frames.parse_key(key.replace(".jpg", "0.jpg")) is None
