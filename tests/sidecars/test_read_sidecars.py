"""Reading sidecars back: in time order, torn ones ignored, following what comes later."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import framecap
from framecap.config import StoreConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.sidecars import read_sidecars, reader
from framecap.sidecars.sidecar import Sidecar, encode
from framecap.stores import open_store
from framecap.stores.base import Store
from tests.sidecars.committing import NOON, SECOND, commit, make, own


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path / "frames")))


@pytest.fixture(params=["on this machine", "over a network"])
def any_store(store: Store, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Over a network, several sidecars are read at a time."""
    if request.param == "over a network":
        monkeypatch.setattr(type(store), "hints", False)
    return store


def keys(sidecars: Iterator[Sidecar]) -> list[str]:
    return [each.frame.key for each in sidecars]


def test_cameras_and_foreign_frames_come_in_time_order(any_store: Store) -> None:
    store = any_store
    expected = [
        commit(store, own("west", NOON)),
        commit(store, "photos/z.jpg", NOON + 0.5 * SECOND),
        commit(store, own("east", NOON + SECOND)),
        commit(store, "a.jpg", NOON + 2 * SECOND),
        commit(store, own("east", NOON + 2 * SECOND)),
        commit(store, own("west", NOON + 2 * SECOND)),
        commit(store, "photos/a.jpg", NOON + 3 * SECOND),
        commit(store, own("east", NOON + 3600 * SECOND)),
    ]
    expected[3:6] = sorted(expected[3:6])  # at one time: by key
    store.put_frame(own("east", NOON + 9 * SECOND), b"a frame without a sidecar")
    assert keys(framecap.read_sidecars(store.directory or "")) == expected
    assert keys(framecap.read_sidecars(str(store.directory))) == expected
    assert [each.key for each in reader.SidecarReader(store).all()] == expected


def test_what_is_chosen_comes_in_time_order(any_store: Store) -> None:
    for number in range(100):
        commit(any_store, own("east", NOON + 100 * number * SECOND))
        commit(any_store, f"east/{99 - number:02}.jpg", NOON + (100 * number + 50) * SECOND)
    commit(any_store, own("west", NOON))
    since, until = NOON + 4000 * SECOND, NOON + 4150 * SECOND
    chosen = [each.key for each in reader.SidecarReader(any_store).all(reader.SidecarFilter("east", since, until))]
    assert chosen == [own("east", since), "east/59.jpg", own("east", NOON + 4100 * SECOND)]
    assert len(list(reader.SidecarReader(any_store).all(reader.SidecarFilter("east")))) == 200


def test_a_store_that_goes_away_while_several_are_read(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        commit(any_store, own("east", NOON + number * SECOND))
    real = any_store.read_sidecar

    def fails(key: str) -> bytes | None:
        if key == own("east", NOON + 30 * SECOND):
            raise StoreUnavailable("away")
        return real(key)

    monkeypatch.setattr(any_store, "read_sidecar", fails)
    coming = reader.SidecarReader(any_store).all()
    assert [next(coming).key for _ in range(30)] == [own("east", NOON + number * SECOND) for number in range(30)]
    with pytest.raises(StoreUnavailable):
        next(coming)


@pytest.mark.faults(31)
def test_truncated_sidecars_are_ignored_with_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    good = commit(store, own("east", NOON))
    store.commit_sidecar(own("east", NOON + SECOND), b'{"status": "capt')
    store.commit_sidecar("a.jpg", b"[")
    store.commit_sidecar("foreign.jpg", b"[]")  # another program's file is no reader's business
    store.commit_sidecar("b.jpg", b"")
    assert store.directory is not None
    (store.directory / "folder.jpg.json").mkdir()
    assert keys(framecap.read_sidecars(store.directory or "")) == [good]
    assert len([record for record in caplog.records if "ignored" in record.message]) == 3


def test_an_address_that_is_not_there(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        framecap.read_sidecars(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert keys(framecap.read_sidecars(store.directory or "")) == []


def test_one_sidecar_a_camera_is_in_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for camera in ("east", "west"):
        for number in range(50):
            commit(store, own(camera, NOON + number * SECOND))
    decoded = 0
    real = reader.decode

    def counted(data: bytes, where: str) -> Sidecar:
        nonlocal decoded
        decoded += 1
        return real(data, where)

    monkeypatch.setattr(reader, "decode", counted)
    for cursor, _ in enumerate(framecap.read_sidecars(store.directory or ""), start=1):
        assert decoded <= cursor + 2


class Follower:
    """Follows in a thread; what comes is taken from a queue."""

    def __init__(self, path: Path | None) -> None:
        assert path is not None
        self.stop = threading.Event()
        self._came: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._sidecars = framecap.read_sidecars(path, follow=True, stop=self.stop)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for each in self._sidecars:
            self._came.put(each.frame.key)

    def take(self, count: int) -> list[str]:
        return [self._came.get(timeout=20) for _ in range(count)]

    def end(self) -> list[str]:
        """Stop; what came that nobody took."""
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return [self._came.get() for _ in range(self._came.qsize())]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    real = read_sidecars.IngestConfig
    monkeypatch.setattr(read_sidecars, "IngestConfig", lambda: real(scan_seconds=0.05, full_scan_seconds=0.3))


@pytest.mark.usefixtures("_quick")
def test_following_gives_each_sidecar_once_as_it_comes(store: Store) -> None:
    there = [commit(store, own("east", NOON + number * SECOND)) for number in range(5)]
    follower = Follower(store.directory)
    try:
        assert follower.take(5) == there
        for key in [
            own("east", NOON + 9 * SECOND),
            own("east", NOON + 7 * SECOND),  # committed later, captured earlier
            own("east", NOON - 100_000 * SECOND),  # far behind: a full listing finds it
            own("west", NOON),
            "photos/a.jpg",
            "b.jpg",
        ]:
            commit(store, key)
            assert follower.take(1) == [key]
    finally:
        assert follower.end() == []


@pytest.mark.usefixtures("_quick")
def test_following_a_truncated_sidecar_until_it_is_whole(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.commit_sidecar("a.jpg", b"{")
    follower = Follower(store.directory)
    try:
        commit(store, "b.jpg")
        assert follower.take(1) == ["b.jpg"]
        store.replace_sidecar("a.jpg", encode(make("a.jpg", NOON)), if_match=b"{")
        assert follower.take(1) == ["a.jpg"]
    finally:
        assert follower.end() == []
    assert caplog.text.count("ignored") == 1


@pytest.mark.faults(18)
@pytest.mark.usefixtures("_quick")
def test_a_follower_waits_out_an_outage(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert store.directory is not None
    commit(store, "a.jpg")
    away = store.directory.with_name("away")
    follower = Follower(store.directory)
    try:
        assert follower.take(1) == ["a.jpg"]
        store.directory.rename(away)
        with pytest.raises(StoreUnavailable):
            list(store.list())
        while "cannot read the sidecars" not in caplog.text:
            time.sleep(0.01)
        away.rename(store.directory)
        commit(store, "b.jpg")
        assert follower.take(1) == ["b.jpg"]
    finally:
        assert follower.end() == []
