"""What the page opens with, and what finding it costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from framecap.config import StoreConfig
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.viewer.initial_state import opening_sidecars
from tests.viewer.served import START, commit, key_of


@pytest.fixture
def store(frames: Path) -> Store:
    return open_store(StoreConfig(frames=str(frames)))


def captions(store: Store, last: int = 2) -> list[str | None]:
    return [sidecar.caption for sidecar in opening_sidecars(store, 10, last, {}, START + timedelta(minutes=30))]


def test_the_newest_of_each_camera_and_the_last_of_all(store: Store, frames: Path) -> None:
    for second in range(3):
        commit(frames, key_of("door", second), f"Door {second}.")
    commit(frames, key_of("yard", -400 * 86_400), "Long ago.")
    commit(frames, key_of("attic", -3600 * 5), "This morning.")
    assert captions(store) == ["This morning.", "Door 2.", "Long ago.", "Door 1."]


def test_foreign_keys_and_truncated_sidecars(store: Store, frames: Path) -> None:
    commit(frames, "uploads/b.jpg", "First.")
    commit(frames, "uploads/a.jpg", "Second.")
    commit(frames, "c.png", "In no folder.")
    assert set(captions(store)) >= {"In no folder.", "Second."}
    (frames / "uploads" / "a.jpg.json").write_text("{")
    (frames / "uploads" / "b.jpg.json").write_text("")
    assert set(captions(store)) == {"In no folder."}


def test_of_a_camera_at_work_only_the_last_hours_are_listed(
    store: Store, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(48):
        commit(frames, key_of("door", -3600 * hour), f"Door {hour}.")
    listed = []
    listing = store.list

    def counted(prefix: str = "", after: str = "") -> Iterator[Entry]:
        for entry in listing(prefix, after):
            listed.append(entry)
            yield entry

    monkeypatch.setattr(store, "list", counted)
    assert captions(store, 1) == ["Door 0."]
    assert len(listed) <= 2


def test_not_more_cameras_than_wanted(store: Store, frames: Path) -> None:
    for number in range(5):
        commit(frames, key_of(f"camera-{number}", 0), f"{number}")
    assert [one.caption for one in opening_sidecars(store, 2, 1, {}, START)] == ["0", "1"]


def test_a_second_time_only_what_is_new_comes(store: Store, frames: Path) -> None:
    known: dict[str, str] = {}
    commit(frames, key_of("door", 0), "Door 0.")
    assert [one.caption for one in opening_sidecars(store, 10, 5, known, START)] == ["Door 0."]
    commit(frames, key_of("yard", 0), "Yard 0.")
    commit(frames, key_of("door", 1), "Door 1.")
    assert [one.caption for one in opening_sidecars(store, 10, 5, known, START)] == ["Door 1.", "Yard 0."]
    commit(frames, key_of("door", 1), "Door 1, done again.")
    assert [one.caption for one in opening_sidecars(store, 10, 5, known, START)] == ["Door 1, done again."]


def test_a_frame_of_the_future_hides_nothing(store: Store, frames: Path) -> None:
    future = key_of("door", 86_400 * 10_000)
    commit(frames, future, "Of a wrong clock.")
    os.utime(frames / f"{future}.json", (START.timestamp() - 86_400,) * 2)  # committed yesterday
    assert captions(store, 1) == ["Of a wrong clock."]
    commit(frames, key_of("door", -3600 * 3), "Three hours ago.")
    assert captions(store, 1) == ["Three hours ago."]


def test_a_renamed_folder_s_frames_are_where_they_were_found(store: Store, frames: Path) -> None:
    commit(frames, key_of("door", 0), "Door 0.")
    (frames / "door").rename(frames / "gate")
    (found,) = opening_sidecars(store, 10, 1, {}, START)
    assert found.frame.key == f"gate{key_of('door', 0).removeprefix('door')}"
