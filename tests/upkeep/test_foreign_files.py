"""Files of other programs under a sidecar's name stay as they are, whatever is done to the store (row 36)."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from framecap.captioning.runtimes.null import NullCaptioner
from framecap.config import IngestConfig, StoreConfig, WorkerConfig
from framecap.errors import NameTaken
from framecap.frames import MAX_SIDECAR_BYTES
from framecap.ingest.scanner import ScanIngest
from framecap.sidecars import sidecar
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.stores.directory import DirectoryStore
from framecap.stores.local_backend import LocalBackend
from framecap.stores.mount_backend import MountBackend
from framecap.upkeep.prune import OldFrame, prune
from framecap.upkeep.retry import RetryFilter, RetryIngest, chosen_frames
from framecap.upkeep.status import read_status
from framecap.worker.run import WorkSummary, run_worker
from tests import command
from tests.s3 import Bucket
from tests.worker.fakes import QUICK
from tests.worker.images import encoded, scene

GOOD = encoded(scene(32, 24))
TAKEOUT = b'{"title":"a.jpg","description":"the day we moved in","photoTakenTime":{"timestamp":"1550000000"}}'
FOREIGN = (
    TAKEOUT,
    b"[]",
    b"null",
    b'"text"',
    b"17",
    b'{"status":"failed"}',
    b"{}",
    json.dumps({"x": "y" * (2 << 20)}).encode(),
)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Bench:
    """A store, and what is really there."""

    store: Store
    put: Callable[[str, bytes], None]
    get: Callable[[str], bytes | None]


@pytest.fixture(params=["local", "mounted", "s3"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return Bench(bucket.store(), bucket.put, lambda path: bucket.get(path) if path in bucket.paths() else None)
    root = tmp_path.resolve() / "frames"
    root.mkdir()

    def put(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    def get(path: str) -> bytes | None:
        return (root / path).read_bytes() if (root / path).exists() else None

    tree = LocalBackend if request.param == "local" else MountBackend
    return Bench(DirectoryStore(tree(root)), put, get)


def fill(bench: Bench, count: int) -> dict[str, bytes]:
    """As many photos beside other programs' files, and a plain one; what must not change, by path."""
    kept = {}
    for n in range(count):
        kept[f"album/{n:04}.jpg"] = GOOD
        kept[f"album/{n:04}.jpg.json"] = FOREIGN[n % len(FOREIGN)]
    for path, data in kept.items():
        bench.put(path, data)
    bench.put("album/plain.jpg", GOOD)
    return kept


def _set() -> threading.Event:
    flag = threading.Event()
    flag.set()
    return flag


def work(bench: Bench) -> WorkSummary:
    ingest = ScanIngest(QUICK, bench.store, None)
    ingest.start()
    try:
        return run_worker(WorkerConfig(decoders=1), bench.store, ingest, NullCaptioner(), threading.Event(), _set())
    finally:
        ingest.close()


def retry(bench: Bench) -> WorkSummary:
    ingest = RetryIngest(IngestConfig(), bench.store, chosen_frames(bench.store, RetryFilter(), None))
    ingest.start()
    try:
        return run_worker(WorkerConfig(decoders=1), bench.store, ingest, NullCaptioner(), threading.Event(), _set())
    finally:
        ingest.close()


@pytest.mark.faults(36)
def test_no_command_changes_another_program_s_file(
    bench: Bench, full: bool, figure: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    count = 1000 if full else 16
    kept = fill(bench, count)
    assert work(bench).captioned == 1
    assert caplog.text.count("another program's file has the name of its sidecar") == 1, "once a folder"
    assert retry(bench).captioned == 0
    status = read_status(bench.store, lambda: None)
    assert status.everything.statuses == {"foreign": count, "captioned": 1}
    assert (status.everything.done, status.kinds) == (1, {})
    old = OldFrame(datetime.now(UTC) + DAY, pending=True)
    for dry_run in (True, False):
        pruned = prune(bench.store, old, dry_run, lambda: None)
        assert (pruned.everything.frames, pruned.kept_foreign) == (1, count)
    changed = [path for path, data in kept.items() if bench.get(path) != data]
    assert changed == []
    figure(f"{type(bench.store).__name__}: {len(changed)} of {count} changed or deleted; every frame ended or was reported")


@pytest.mark.faults(36)
@pytest.mark.parametrize("data", FOREIGN, ids=lambda data: ascii(data[:20]))
def test_store_refuses_to_write_replace_or_delete_a_foreign_file(bench: Bench, data: bytes) -> None:
    bench.put("album/a.jpg", GOOD)
    bench.put("album/a.jpg.json", data)
    ours = b'{"status": "captioned", "frame": {}}'
    with pytest.raises(NameTaken, match=r"set store\.sidecars"):
        bench.store.commit_sidecar("album/a.jpg", ours)
    if len(data) <= MAX_SIDECAR_BYTES:
        with pytest.raises(NameTaken):
            bench.store.replace_sidecar("album/a.jpg", ours, if_match=data)
    assert bench.store.delete_sidecars(["album/a.jpg", "album/b.jpg"]) == ["album/b.jpg"]
    assert bench.get("album/a.jpg.json") == data


@pytest.mark.faults(36)
def test_orphaned_foreign_file_is_not_pruned(bench: Bench) -> None:
    bench.put("album/gone.jpg.json", TAKEOUT)
    bench.put("album/ours.jpg.json", b'{"status": "captioned", "frame": {}}')
    for dry_run in (True, False):
        assert prune(bench.store, OldFrame(datetime.now(UTC) + DAY), dry_run, lambda: None).orphans == 1
    assert bench.get("album/gone.jpg.json") == TAKEOUT
    assert bench.get("album/ours.jpg.json") is None


@pytest.mark.faults(36)
def test_photo_is_captioned_where_sidecars_have_an_address_of_their_own(tmp_path: Path) -> None:
    photos, sidecars = tmp_path / "photos", tmp_path / "sidecars"
    (photos / "album").mkdir(parents=True)
    (photos / "album/a.jpg").write_bytes(GOOD)
    (photos / "album/a.jpg.json").write_bytes(TAKEOUT)
    where = ("--frames", photos, "--set", f"store.sidecars={sidecars}")
    done = command.run("work", "--once", "--runtime", "null", *where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    read = sidecar.decode((sidecars / "album/a.jpg.json").read_bytes())
    assert read.frame.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert (photos / "album/a.jpg.json").read_bytes() == TAKEOUT


@pytest.mark.faults(36)
@pytest.mark.parametrize("age", [0, 40 * 86_400], ids=["young", "old"])
def test_commands_keep_and_report_foreign_files(tmp_path: Path, age: float) -> None:
    album = tmp_path / "frames" / "album"
    album.mkdir(parents=True)
    for name in ("a", "b"):
        (album / f"{name}.jpg").write_bytes(GOOD)
        (album / f"{name}.jpg.json").write_bytes(TAKEOUT)
    at = time.time() - age
    for path in album.iterdir():
        os.utime(path, (at, at))
    before = {path.name: path.read_bytes() for path in album.iterdir()}
    frames = ("--frames", tmp_path / "frames")
    worked = command.run("work", "--once", "--runtime", "null", *frames, cwd=tmp_path)
    assert "another program's file has the name of its sidecar" in worked.stderr
    for arguments in (("retry", "--runtime", "null"), ("prune", "--older-than", "1s", "--yes"), ("status", "--json")):
        done = command.run(*arguments, *frames, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["foreign"] == 2
    assert {path.name: path.read_bytes() for path in album.iterdir()} == before


def test_foreign_file_that_goes_makes_its_frame_pending(tmp_path: Path) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path)))
    bench = Bench(store, lambda path, data: None, lambda path: None)
    (tmp_path / "album").mkdir()
    (tmp_path / "album/a.jpg").write_bytes(GOOD)
    (tmp_path / "album/a.jpg.json").write_bytes(TAKEOUT)
    assert work(bench).captioned == 0
    (tmp_path / "album/a.jpg.json").unlink()
    assert work(bench).captioned == 1


def test_prune_takes_files_of_extreme_times_as_they_are(tmp_path: Path) -> None:
    for name, at in (("future", 1e12), ("past", 0.0)):
        path = tmp_path / "frames/cam" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD)
        path.with_name(path.name + ".json").write_bytes(b'{"status": "captioned", "frame": {}}')
        os.utime(path, (at, at))
    done = command.run("prune", "--older-than", "1d", "--yes", "--frames", tmp_path / "frames", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "frames/cam").iterdir()) == ["future.jpg", "future.jpg.json"]
