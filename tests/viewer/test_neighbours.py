"""The frames before and after one."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.config import StoreConfig
from framecap.stores import open_store
from framecap.viewer.neighbours import Neighbours, neighbours
from tests.viewer.served import commit, key_of


@pytest.mark.parametrize("gap", [1, 90, 5000, 20 * 3600])
def test_of_own_keys_by_time(frames: Path, gap: int) -> None:
    store = open_store(StoreConfig(frames=str(frames)))
    keys = [key_of("door", number * gap) for number in range(3)]
    for key in keys:
        commit(frames, key, "A dog.")
    commit(frames, key_of("attic", 0), "Another camera's.")
    commit(frames, key_of("yard", 0), "Another camera's.")
    found = [neighbours(store, key) for key in keys]
    assert found == [Neighbours(None, keys[1]), Neighbours(keys[0], keys[2]), Neighbours(keys[1], None)]


def test_of_foreign_keys_by_name(frames: Path) -> None:
    store = open_store(StoreConfig(frames=str(frames)))
    for key in ("a.jpg", "b.jpg", "c.png", "folder/d.jpg"):
        commit(frames, key, "A dog.")
    assert neighbours(store, "b.jpg") == Neighbours("a.jpg", "c.png")
    assert neighbours(store, "folder/d.jpg") == Neighbours(None, None)
