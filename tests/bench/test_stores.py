"""Filled stores: a scan finds every frame done, and the new ones pending."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from framecap.bench import stores
from framecap.bench.stores import add_new, fill
from framecap.config import StoreConfig
from framecap.stores import open_store
from framecap.stores.listing import pairs
from tests.tiny import draw_image


def test_all_are_done_but_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_LINKS", 50)
    monkeypatch.setattr(stores, "_CHUNK", 3600)
    cv2.imwrite(str(tmp_path / "new.jpg"), draw_image("red", "ball"))
    folder = tmp_path / "place"
    fill(folder, 3700)
    store = open_store(StoreConfig(frames=str(folder)))
    done = list(pairs(store.list("")))
    assert len(done) == 3700
    assert all(sidecar is not None and sidecar.size > 0 for _, sidecar in done)
    assert len({entry.key.rpartition("/")[0] for entry, _ in done}) == 2
    sidecars = add_new(folder, 3700, [tmp_path / "new.jpg"] * 3)
    pending = [entry.key for entry, sidecar in pairs(store.list("")) if sidecar is None]
    assert [str(path.relative_to(folder)) for path in sidecars] == [f"{key}.json" for key in pending]
    assert pending == sorted(pending)
    assert pending[0] > done[-1][0].key
