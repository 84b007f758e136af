"""Following: from now on or from a position, each commit once, over outages and over the death of who follows."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import StoreUnavailable
from framecap.frames import sidecar_key
from framecap.sidecars import follower as following
from framecap.sidecars.follower import Follower, MemoryCursor
from framecap.sidecars.reader import FoundSidecar, SidecarReader, commit_id
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from tests.sidecars.committing import NOON, SECOND, commit, make, own, replace

HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path / "frames")))


def take(follower: Follower) -> list[str]:
    """One look, all of it dealt with."""
    keys = []
    for found in follower.poll():
        keys.append(found.key)
        follower.done(found)
    return keys


def age(store: Store, key: str, seconds: float) -> None:
    """Make a sidecar one that was committed so long ago."""
    assert store.directory is not None
    at = time.time() - seconds
    os.utime(store.directory / sidecar_key(key), (at, at))


def test_from_now_on(store: Store) -> None:
    for number in range(3):
        age(store, commit(store, own("east", NOON + number * SECOND)), 5)
    follower = Follower(store, MemoryCursor())
    follower.skip_what_is_there()
    assert take(follower) == []
    later = [commit(store, own("east", NOON + number * SECOND)) for number in (9, 7)]
    assert take(follower) == sorted(later)
    assert take(follower) == []


def test_what_is_not_done_comes_again_and_holds_the_position(store: Store) -> None:
    memory = MemoryCursor()
    follower = Follower(store, memory)
    first, second = (commit(store, own("east", NOON + number * SECOND)) for number in range(2))
    for found in follower.poll():
        if found.key == second:
            follower.done(found)
    assert memory.position < 0
    assert take(follower) == [first]
    assert take(follower) == []
    assert memory.position == pytest.approx(time.time(), abs=60)


def test_a_replaced_sidecar_comes_again_under_another_id(store: Store) -> None:
    key = commit(store, "a.jpg")
    follower = Follower(store, MemoryCursor())
    (failed,) = follower.poll()
    follower.done(failed)
    replace(store, key, "A dog.")
    (captioned,) = follower.poll()
    assert (failed.sidecar.status, captioned.sidecar.status) == ("failed", "captioned")
    assert failed.id != captioned.id
    assert captioned.id == commit_id(captioned.sidecar)
    assert len(captioned.id) == 32


def test_the_memory_forgets_what_is_behind_the_lookback(store: Store) -> None:
    memory = MemoryCursor()
    config = IngestConfig(full_scan_seconds=60, lookback_seconds=600)
    old = [commit(store, own("east", NOON + number * SECOND)) for number in range(20)]
    for key in old:
        age(store, key, HOUR)
    commit(store, own("east", NOON + 60 * SECOND))
    follower = Follower(store, memory, config)
    assert len(take(follower)) == 21
    assert len(memory) == 1
    assert take(follower) == []
    assert take(Follower(store, memory, config)) == []  # a new one lists everything: the position alone tells


def test_a_clock_of_the_future_hides_nothing(store: Store) -> None:
    age(store, commit(store, "a.jpg"), -1e6)
    follower = Follower(store, MemoryCursor())
    follower.skip_what_is_there()
    take(follower)
    commit(store, "b.jpg")
    assert take(follower) == ["b.jpg"]


def test_an_empty_store_from_now_on_misses_nothing_over_a_restart(store: Store) -> None:
    memory = MemoryCursor()
    Follower(store, memory).skip_what_is_there()
    commit(store, "a.jpg")
    again = Follower(store, memory)
    again.skip_what_is_there()
    assert take(again) == ["a.jpg"]


def test_an_outage_in_the_middle_of_a_look(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [commit(store, own("east", NOON + number * SECOND)) for number in range(3)]
    memory = MemoryCursor()
    follower = Follower(store, memory)
    real = store.read_sidecar

    def fails(key: str) -> bytes | None:
        if key == keys[1]:
            raise StoreUnavailable("away")
        return real(key)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_sidecar", fails)
        with pytest.raises(StoreUnavailable):
            take(follower)
    assert memory.position < 0
    assert take(follower) == keys


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_is_missed_whenever_who_follows_dies(data: st.DataObject, tmp_path: Path) -> None:
    """The law of a durable memory: commits of any age within the lookback, deaths anywhere; in the end each came."""
    address = tmp_path / str(time.monotonic_ns())
    store = open_store(StoreConfig(frames=str(address)))
    memory = MemoryCursor()  # outlives its followers, as a durable one does
    dealt: list[str] = []
    committed: set[str] = set()
    follower = Follower(store, memory)
    for step in range(data.draw(st.integers(1, 6))):
        for number in range(data.draw(st.integers(0, 4))):
            camera = data.draw(st.sampled_from(["east", "west"]))
            key = own(camera, NOON + data.draw(st.integers(-5000, 5000)) * SECOND, 10 * step + number)
            if store.read_sidecar(key) is None:
                commit(store, key)
                age(store, key, data.draw(st.floats(0, 1000)))
            committed.add(key)
        dies_after = data.draw(st.none() | st.integers(0, 3))
        for number, found in enumerate(follower.poll()):
            if number == dies_after:
                follower = Follower(store, memory)
                break
            dealt.append(found.key)
            follower.done(found)
    last = Follower(store, memory)
    dealt += take(last)
    assert sorted(dealt) == sorted(committed)
    assert take(last) == []


def test_an_id_needs_the_sidecar_alone() -> None:
    sidecar = make("a/ü.jpg", NOON)
    ids = {FoundSidecar("a/ü.jpg", sidecar, "1", 1.0).id, FoundSidecar("b.jpg", sidecar, "2", 2.0).id}
    assert ids == {"8bb5597351273337062d2b969ae26a67"}


def test_a_copied_folder_s_sidecars_come_once(store: Store) -> None:
    key = commit(store, own("east", NOON), caption="A dog.")
    assert store.directory is not None
    shutil.copytree(store.directory / "east", store.directory / "copy")
    copy = f"copy{key.removeprefix('east')}"
    memory = MemoryCursor()
    follower = Follower(store, memory, IngestConfig(full_scan_seconds=60))
    assert take(follower) == [copy, key]
    assert take(follower) == []
    assert take(Follower(store, memory)) == []
    assert [found.key for found in SidecarReader(store).all()] == [copy, key]


def test_what_is_read_ahead_over_a_network_is_in_the_same_look(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(store), "hints", False)
    monkeypatch.setattr(following, "_TOGETHER", 20)
    keys = [commit(store, own("east", NOON + number * SECOND)) for number in range(90)]
    for key in keys[:-1]:
        age(store, key, 10 * HOUR)
    assert take(Follower(store, MemoryCursor())) == keys


def listed_slowly(store: Store, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """To list everything takes so long; how many of its objects have been listed each time."""
    listings: list[int] = []
    real = store.list

    def slow(prefix: str = "", after: str = "") -> Iterator[Entry]:
        if prefix:
            yield from real(prefix, after)
            return
        listings.append(0)
        everything = list(real())
        for entry in everything:
            time.sleep(seconds / len(everything))
            listings[-1] += 1
            yield entry

    monkeypatch.setattr(store, "list", slow)
    return listings


def test_a_store_that_takes_long_to_list_is_seldom_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(store, own("east", NOON))
    listings = listed_slowly(store, monkeypatch, 0.5)
    follower = Follower(store, MemoryCursor(), IngestConfig(full_scan_seconds=0.001))
    assert len(take(follower)) == 1
    later = commit(store, own("east", NOON + SECOND))
    assert take(follower) == [later]
    assert len(listings) == 1, "ten seconds are free of it"


def test_the_memory_reaches_back_over_the_pause_between_two_listings(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing takes half a second: the next one is after ten, and what was committed behind this one may be as old then."""
    config = IngestConfig(full_scan_seconds=0.001, lookback_seconds=1)
    known = [commit(store, own("east", NOON + number * SECOND)) for number in range(3)]
    for key, seconds in zip(known, (HOUR, 12, 0), strict=True):
        age(store, key, seconds)
    listed_slowly(store, monkeypatch, 0.5)
    memory = MemoryCursor()
    assert take(Follower(store, memory, config)) == known
    assert len(memory) == 2
    age(store, commit(store, own("east", NOON - SECOND)), 11)
    assert take(Follower(store, memory, config)) == [own("east", NOON - SECOND)]


def test_what_a_long_listing_has_found_does_not_wait_for_its_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_GATHER_SECONDS", 0.0)
    keys = [commit(store, own("east", NOON + number * SECOND)) for number in range(5)]
    listings = listed_slowly(store, monkeypatch, 0.0)
    follower = Follower(store, MemoryCursor())
    looking = follower.poll()
    assert next(looking).key == keys[0]
    assert listings == [1]
    assert [found.key for found in looking] == keys[1:]


def test_a_look_that_finds_nothing_new_says_that_it_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_GATHER_SECONDS", 0.0)
    for number in range(5):
        commit(store, own("east", NOON + number * SECOND))
    memory = MemoryCursor()
    take(Follower(store, memory))
    heard: list[int] = []
    assert list(Follower(store, memory).poll(lambda: heard.append(1))) == []
    assert len(heard) >= 5
