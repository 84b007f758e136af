"""The status of a store: what is pending, done and failed, by camera, of made-up stores of any shape."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framecap.errors import StoreUnavailable
from framecap.frames import camera_of
from framecap.sidecars.status_reader import read_statuses
from framecap.stores.base import Store
from framecap.upkeep.status import list_status, read_status
from tests.command import run
from tests.worker.fakes import fill, local_store

FAILED = {"frame": {}, "status": "failed", "error": {"kind": "truncated", "message": "its end is missing", "attempts": 1}}
SIDECARS = {
    "pending": None,
    "empty": b"",
    "captioned": json.dumps({"frame": {}, "status": "captioned", "caption": "A dog."}).encode(),
    "duplicate": json.dumps({"frame": {}, "status": "duplicate"}).encode(),
    "skipped": json.dumps({"frame": {}, "status": "skipped"}).encode(),
    "failed": json.dumps(FAILED).encode(),
    "torn": b'{"status": "captio',
}


def fill_with(root: Path, frames: dict[str, str]) -> None:
    """Frames by key, each with the sidecar of that name."""
    for key, name in frames.items():
        sidecar = SIDECARS[name]
        fill(root, {key: b"x"} | ({} if sidecar is None else {f"{key}.json": sidecar}))


frames = st.dictionaries(
    st.sampled_from([f"{folder}{n}.jpg" for folder in ("", "door/", "door/a/", "yard/") for n in range(30)]),
    st.sampled_from(sorted(SIDECARS)),
    max_size=60,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames)
def test_every_frame_is_counted_once(tmp_path: Path, frames: dict[str, str]) -> None:
    root = tmp_path / str(time.monotonic_ns())
    root.mkdir()
    fill_with(root, frames)
    looked: list[int] = []
    for camera in {None, *map(camera_of, frames)}:
        names = Counter(name for key, name in frames.items() if camera in (None, camera_of(key)))
        pending = names.pop("pending", 0) + names.pop("empty", 0)
        read = read_status(local_store(root), lambda: looked.append(1))
        quick = list_status(local_store(root), lambda: None)
        counts = read.everything if camera is None else read.cameras[camera]
        assert (counts.pending, counts.done, counts.statuses) == (pending, names.total(), names)
        counts = quick.everything if camera is None else quick.cameras[camera]
        assert (counts.pending, counts.done, counts.statuses) == (pending, names.total(), Counter())
        assert (counts.oldest_pending is None) == (pending == 0)
    kinds = Counter("truncated" if name == "failed" else "torn" for name in frames.values() if name in ("failed", "torn"))
    assert read.kinds == kinds
    assert sum(looked) == len(frames) * len({None, *map(camera_of, frames)})


def test_the_oldest_pending_frame_is_the_oldest_of_all(tmp_path: Path) -> None:
    fill_with(tmp_path, {"a/1.jpg": "captioned", "a/2.jpg": "pending", "b/1.jpg": "pending"})
    for key, age in {"a/1.jpg": 5000, "a/2.jpg": 4000, "b/1.jpg": 100}.items():
        os.utime(tmp_path / key, (1e9 - age, 1e9 - age))
    status = list_status(local_store(tmp_path), lambda: None)
    assert status.everything.oldest_pending == 1e9 - 4000
    assert status.cameras["b"].oldest_pending == 1e9 - 100


class Away:
    """A store whose sidecars cannot be read any more after some."""

    def __init__(self, store: Store, good: int) -> None:
        self._store = store
        self._good = good

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read_sidecar(self, key: str) -> bytes | None:
        self._good -= 1
        if self._good < 0:
            raise StoreUnavailable("away")
        return self._store.read_sidecar(key)


def test_a_store_that_goes_away_is_an_error_and_ends_the_reading(tmp_path: Path) -> None:
    fill_with(tmp_path, {f"a/{n}.jpg": "captioned" for n in range(500)})
    store: Store = Away(local_store(tmp_path), 100)  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable):
        read_status(store, lambda: None)
    assert store._good > -200, "the rest was not asked for"  # type: ignore[attr-defined]


def test_a_sidecar_that_goes_meanwhile_is_truncated_by_no_one(tmp_path: Path) -> None:
    fill_with(tmp_path, {"a/1.jpg": "captioned"})
    store = local_store(tmp_path)
    entries = [entry for entry in store.list() if entry.key == "a/1.jpg"]
    (tmp_path / "a/1.jpg.json").unlink()
    (read,) = read_statuses(store, entries)
    assert (read.status, read.kind, read.data) == ("pending", None, None)


def test_the_table(tmp_path: Path) -> None:
    many = {f"camera-{n:03d}/1.jpg": "captioned" for n in range(60)}
    fill_with(tmp_path, {"door/1.jpg": "pending", "yard/1.jpg": "failed", "yard/2\x41.jpg": "torn", **many})
    os.utime(tmp_path / "door/1.jpg", (time.time() - 7300,) * 2)
    done = run("status", "--frames", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["camera", "pending", "oldest", "pending", "done", "captioned", "failed", "torn"]
    assert lines[3].split() == ["door", "1", "2", "h", "0", "0", "0", "0"]
    assert lines[4].split() == ["yard", "0", "2", "0", "1", "1"]
    assert len(set(map(len, lines[2:53]))) == 1, "aligned"
    assert "(12 cameras more: --json shows them)" in lines
    assert lines[-1] == "failed or torn: 1 truncated, 1 torn (framecap retry does them again)"


def test_as_json(tmp_path: Path) -> None:
    fill_with(tmp_path, {"door/1.jpg": "pending", "yard/1.jpg": "failed", "yard/2.jpg": "duplicate"})
    whole = json.loads(run("status", "--frames", tmp_path, "--json", cwd=tmp_path).stdout)
    assert (whole["pending"], whole["done"], whole["failed"], whole["duplicate"]) == (1, 2, 1, 1)
    assert whole["cameras"]["yard"] == {
        "pending": 0,
        "oldest_pending_seconds": None,
        "done": 2,
        "captioned": 0,
        "duplicate": 1,
        "skipped": 0,
        "failed": 1,
        "torn": 0,
        "foreign": 0,
    }
    assert whole["failed_kinds"] == {"truncated": 1}
    assert 0 <= whole["oldest_pending_seconds"] < 60
    quick = json.loads(run("status", "--frames", tmp_path, "--json", "--quick", cwd=tmp_path).stdout)
    assert (quick["pending"], quick["done"]) == (1, 2)
    assert "failed" not in quick


def test_nothing_is_made_or_changed(tmp_path: Path) -> None:
    done = run("status", "--frames", tmp_path / "typo", cwd=tmp_path)
    assert done.returncode == 2
    assert "no such directory" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert run("status", "--frames", tmp_path, cwd=tmp_path).stdout.splitlines()[-1].split() == ["all", "0", "0", "0", "0"]
