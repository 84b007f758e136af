"""Shares of the keys: every key is in exactly one, they are about equal, and a camera's own frames stay together."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.config import IngestConfig
from framecap.frames import FrameName, make_key
from framecap.ingest import open_ingest
from framecap.ingest.base import Ingest
from framecap.ingest.shard import Shard
from framecap.stores.base import Store
from tests.worker.fakes import fill, local_store

cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
own_keys = st.builds(
    lambda camera, seconds, number: make_key(
        FrameName(camera, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds), number)
    ),
    cameras,
    st.integers(0, 10**8),
    st.integers(0, 10**9),
)
foreign_keys = st.lists(st.text(min_size=1, max_size=10).filter(lambda part: "/" not in part), min_size=1, max_size=4).map(
    lambda parts: "/".join(parts) + ".jpg"
)
counts = st.integers(1, 60)


@settings(deadline=None)
@given(own_keys | foreign_keys, counts)
def test_every_key_is_in_exactly_one_share(key: str, count: int) -> None:
    assert sum(Shard(number, count).holds(key) for number in range(1, count + 1)) == 1


@settings(deadline=None)
@given(cameras, st.lists(st.integers(0, 10**8), min_size=2, max_size=5), counts)
def test_a_cameras_own_frames_stay_together(camera: str, seconds: list[int], count: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [make_key(FrameName(camera, start + timedelta(seconds=one), one)) for one in seconds]
    first = next(number for number in range(1, count + 1) if Shard(number, count).holds(keys[0]))
    assert all(Shard(first, count).holds(key) for key in keys)


@pytest.mark.parametrize("count", [2, 3, 8, 20])
@pytest.mark.parametrize("kind", ["cameras", "foreign"])
def test_shares_are_about_equal(count: int, kind: str) -> None:
    number = 500 * count
    at = datetime(2026, 11, 22, tzinfo=UTC)
    names = (
        [make_key(FrameName(f"camera-{n}", at, 1)) for n in range(number)]
        if kind == "cameras"
        else [f"yard/IMG_{n}.jpg" for n in range(number)]
    )
    shards = [Shard(share, count) for share in range(1, count + 1)]
    sizes = [sum(shard.holds(key) for key in names) for shard in shards]
    assert sum(sizes) == number
    assert max(sizes) < 1.25 * 500
    assert min(sizes) > 0.75 * 500


def test_shares_never_change() -> None:
    """Another answer in another version would give a fleet's frames to two workers, or to none."""
    at = datetime(2026, 11, 22, tzinfo=UTC)
    keys = [make_key(FrameName(camera, at, 1)) for camera in ("door", "gate", "yard", "lab")] + ["a.jpg", "x/é.png"]
    assert [next(n for n in range(1, 9) if Shard(n, 8).holds(key)) for key in keys] == [2, 1, 1, 4, 2, 7]


def test_what_the_configuration_says_is_read() -> None:
    assert Shard.parse("2/8") == Shard(2, 8)


@pytest.mark.parametrize("hints", ["on", "off"])
def test_an_ingest_with_a_share_gives_its_frames_and_no_others(tmp_path: Path, hints: str) -> None:
    """Those that are there before, those that come one by one, and those of a folder that is moved in as a whole."""
    before, later, moved = ([f"{name}/{n}.jpg" for n in range(40)] for name in ("before", "later", "moved"))
    fill(tmp_path / "frames", dict.fromkeys(before, b"x"))
    fill(tmp_path, dict.fromkeys(moved, b"x"))
    store = local_store(tmp_path / "frames")
    config = IngestConfig(scan_seconds=0.1, hints="on" if hints == "on" else "off", shard="2/3")
    ingest = open_ingest(config, store)
    ingest.start()
    try:
        got = {captioned(ingest, store)}
        fill(tmp_path / "frames", dict.fromkeys(later, b"x"))
        (tmp_path / "moved").rename(tmp_path / "frames" / "moved")
        expected = {key for key in before + later + moved if Shard(2, 3).holds(key)}
        while len(got) < len(expected):
            got.add(captioned(ingest, store))
        assert got == expected
        deadline = threading.Event()
        while not ingest.exhausted():
            assert not deadline.wait(0.02)
        assert ingest.lease(0) is None
    finally:
        ingest.close()


def captioned(ingest: Ingest, store: Store) -> str:
    """The next frame, done."""
    lease = ingest.lease(20.0)
    assert lease is not None
    store.commit_sidecar(lease.entry.key, b'{"status": "captioned", "frame": {}}')
    lease.done()
    return lease.entry.key
