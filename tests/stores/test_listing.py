"""Pairing frames with sidecars, and listing only what can be new."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.config import StoreConfig
from framecap.frames import FrameName, make_key, sidecar_key
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.stores.listing import Listing, pairs

HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

STEMS = st.sampled_from(["a", "a.jpg", "a.jpg-", "a.jpg.", "a.jpg.j", "a.jpg.json", "b", "a/a", "a.jpg/a", "a.jpg.json/a"])
FRAMES = st.builds(lambda stem, suffix: stem + suffix, STEMS, st.sampled_from([".jpg", ".JPG", ".png"]))


@given(st.sets(FRAMES), st.sets(FRAMES))
def test_every_frame_comes_once_with_its_own_sidecar(frames: set[str], with_sidecar: set[str]) -> None:
    keys = sorted(frames | {sidecar_key(frame) for frame in with_sidecar})
    found = list(pairs(Entry(key, 1, 0.0, "") for key in keys))
    assert sorted(frame.key for frame, _ in found) == sorted(frames)
    for frame, sidecar in found:
        expected = sidecar_key(frame.key) if frame.key in with_sidecar else None
        assert (sidecar and sidecar.key) == expected


def own(camera: str, at: datetime, sequence: int = 0) -> str:
    return make_key(FrameName(camera, at, sequence))


class CountingStore:
    """A store that counts what it lists."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.listed = 0

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        for entry in self._store.list(prefix, after):
            self.listed += 1
            yield entry

    def top(self) -> Iterator[Entry | str]:
        for item in self._store.top():
            self.listed += 1
            yield item


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path)))


def keys(entries: Iterator[Entry]) -> list[str]:
    return [entry.key for entry in entries]


def test_an_incremental_listing_shows_what_is_new_and_little_else(store: Store) -> None:
    old = [own(camera, NOON - timedelta(hours=hours)) for camera in ("east", "west") for hours in range(1, 50)]
    late = own("east", NOON - timedelta(minutes=50))  # a spool that comes behind the newest
    foreign = ["photos/a.jpg", "unsorted.jpg", "mixed/b.jpg"]
    for key in [*old, own("east", NOON), own("west", NOON), own("mixed", NOON), *foreign]:
        store.put_frame(key, b"x")
    counting = CountingStore(store)
    listing = Listing(counting, HOUR)  # type: ignore[arg-type]
    assert len(keys(listing.full())) == len(old) + 6
    new = [
        late,
        own("east", NOON + HOUR),
        own("new-camera", NOON - 100 * HOUR),
        "photos/0.jpg",
        "another.jpg",
        "mixed/0.jpg",
    ]
    for key in new:
        store.put_frame(key, b"x")
    counting.listed = 0
    found = keys(listing.incremental())
    assert set(new) <= set(found)
    assert sorted(found) == found
    assert len(set(found)) == len(found)
    assert counting.listed < 25
    assert set(keys(listing.incremental())) >= set(new) - {late}, "the watermark has moved on with the newest"
    assert keys(listing.full()) == keys(store.list())


def test_before_any_full_listing_everything_is_new(store: Store) -> None:
    for key in (own("east", NOON), own("east", NOON - 9 * HOUR), "a.jpg"):
        store.put_frame(key, b"x")
    assert keys(Listing(store, HOUR).incremental()) == keys(store.list())


def test_a_frame_from_the_future_does_not_hide_the_present(store: Store) -> None:
    now = datetime.now(UTC)
    store.put_frame(own("east", now + 1000 * HOUR), b"x")
    store.put_frame(own("east", now - 2 * HOUR), b"x")
    listing = Listing(store, HOUR)
    assert len(keys(listing.full())) == 2
    present = own("east", now)
    store.put_frame(present, b"x")
    assert present in keys(listing.incremental())


def test_an_incremental_listing_ends_whatever_the_names_are(store: Store) -> None:
    store.put_frame(own("east", NOON), b"x")
    listing = Listing(store, HOUR)
    keys(listing.full())
    new = ["east/\U0010ffff.jpg", "east/\U0010ffff/a.jpg", "east0.jpg", "east0/a.jpg"]
    for key in new:
        store.put_frame(key, b"x")
    assert keys(islice(listing.incremental(), 10)) == [own("east", NOON), *sorted(new)]


def test_a_full_listing_that_breaks_off_keeps_the_old_watermarks(store: Store) -> None:
    store.put_frame(own("east", NOON), b"x")
    listing = Listing(store, HOUR)
    keys(listing.full())
    store.put_frame(own("east", NOON + 10 * HOUR), b"x")
    next(listing.full())
    missed = own("east", NOON + HOUR)
    store.put_frame(missed, b"x")
    assert missed in keys(listing.incremental())


def test_watermarks_by_sidecars_do_not_run_ahead_with_the_frames(store: Store) -> None:
    done, ahead = own("east", NOON), own("east", NOON + 10 * HOUR)
    for key in (done, ahead):
        store.put_frame(key, b"x")
    store.commit_sidecar(done, b"{}")
    listing = Listing(store, HOUR, marks="sidecars")
    keys(listing.full())
    behind = own("east", NOON + HOUR)
    store.commit_sidecar(behind, b"{}")
    assert sidecar_key(behind) in keys(listing.incremental())
