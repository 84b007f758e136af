"""The commit in directories: whole, whatever dies or fails in the middle of it."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framecap.errors import FolderClosed, StoreUnavailable
from framecap.sidecars.sidecar import is_whole
from framecap.stores.base import CommitResult, PutResult
from framecap.stores.directory import DirectoryStore
from framecap.telemetry import store_errors
from tests.stores.killed import KEY, NEW, OLD, store_of

KINDS = ("local", "mounted")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryStore:
    return store_of(request.param, tmp_path.resolve())


def names(store: DirectoryStore) -> list[str]:
    return sorted(str(path.relative_to(store.directory)) for path in store.directory.rglob("*") if path.is_file())


@pytest.mark.faults(2)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_before_each_system_call_of_the_commit(kind: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    command = [sys.executable, "-m", "tests.stores.killed", "steps", kind, str(tmp_path.resolve())]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    deaths = [json.loads(line) for line in output.splitlines()]
    figure(f"{kind}: {sum(death['died'] for death in deaths)} steps")
    for before in ("absent", "empty", "existing"):
        mine = [death for death in deaths if death["before"] == before]
        assert len(mine) > 5, "it was killed at a few steps at least"
        assert mine[-1]["state"] == "new", "the last one was not killed"
        # on a mount, where nothing can be renamed, a replacement passes through absence: the frame is pending again
        allowed = {"old", "new"} | ({"absent"} if before != "existing" or kind == "mounted" else set())
        assert {death["state"] for death in mine} <= allowed
        for death in mine:
            assert death["listed"] in ([], [f"{KEY}.json"])
            expected = "ALREADY_THERE" if death["state"] == "new" else "COMMITTED"
            assert death["again"] == expected, "the frame ends in one sidecar"


@pytest.mark.faults(2)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments_of_committing(
    kind: str, tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    kills = 200 if full else 8
    seed = random.Random(2)
    committed: list[int] = []
    command = [sys.executable, "-m", "tests.stores.killed", "forever", kind, str(tmp_path.resolve())]
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seed.uniform(0, 0.05))  # the random moment
        process.kill()
        committed += [int(line) for line in [first, *process.communicate()[0].splitlines()] if line.strip()]
    assert len(committed) == len(set(committed)), "no frame was committed twice"
    found = {path.name: path.read_bytes() for path in tmp_path.glob("cam/*.jpg.json")}
    assert [number for number in committed if found.get(f"{number}.jpg.json") != NEW] == []
    truncated = [name for name, data in found.items() if data not in (NEW, b"")]
    note = f"{len(truncated)} torn" + (", none of which looks whole: the next start replaces them" if truncated else "")
    figure(f"{kind}: {kills} kills over {len(committed)} commits: {note}")
    # A mount has no rename: a write may be cut short there. It never looks whole, so that the next start replaces it.
    assert truncated == [] or kind == "mounted"
    assert not any(is_whole(found[name]) for name in truncated)
    listed = {entry.key for entry in store_of(kind, tmp_path.resolve()).list() if entry.size}
    assert listed == {f"cam/{name}" for name, data in found.items() if data}


def makes_a_file(flags: int) -> bool:
    return bool(flags & os.O_CREAT) or flags & os.O_TMPFILE == os.O_TMPFILE


FAULTS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENOTCONN, errno.ESTALE, errno.EACCES]


@pytest.mark.faults(18)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link"])
@pytest.mark.parametrize("number", FAULTS, ids=[errno.errorcode[number] for number in FAULTS])
def test_a_fault_in_the_middle_is_an_outage_and_heals(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    if call == "link" and (store.hints is False or number == errno.EACCES):
        return  # only local directories link
    (store.directory / "cam").mkdir()
    real: Callable[..., Any] = getattr(os, call)
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        creates = call == "open" and len(arguments) > 1 and makes_a_file(arguments[1])
        if call != "open" or creates:
            if call == "write" and calls == 1:
                return real(arguments[0], arguments[1][:5])  # the disk takes a little of it first
            raise OSError(number, os.strerror(number), "user:secret@host")
        return real(*arguments, **options)

    before = store_errors.labels(operation="write")._value.get()
    commit, put = lambda: store.commit_sidecar(KEY, NEW), lambda: store.put_frame(KEY, NEW)
    for use in (commit, put):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(StoreUnavailable) as caught:
                use()
        assert caught.value.retryable
        assert isinstance(caught.value, FolderClosed) is (use is commit and number == errno.EACCES)
        assert ": " in str(caught.value)
        assert "secret" not in str(caught.value)
        assert names(store) == [], "nothing torn is left behind"
        assert use() in (CommitResult.COMMITTED, PutResult.STORED)
        for path in store.directory.glob("cam/*"):
            assert path.read_bytes() == NEW
            path.unlink()
    assert store_errors.labels(operation="write")._value.get() == before + 2


@pytest.mark.faults(18)
def test_where_a_truncated_file_cannot_be_removed_it_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that fails in mid-write and forbids deleting: size 0 counts as absent, and the next commit goes through."""
    store = store_of("mounted", tmp_path.resolve())

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "")

    (tmp_path / "cam").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "unlink", fail)
        with pytest.raises(StoreUnavailable):
            store.commit_sidecar(KEY, NEW)
    assert (tmp_path / f"{KEY}.json").read_bytes() == b""
    assert store.commit_sidecar(KEY, NEW) is CommitResult.COMMITTED


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.open

    def without(path: str, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, "FAT")
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", without)
    store = store_of("local", tmp_path.resolve())
    assert store.commit_sidecar(KEY, OLD) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, NEW) is CommitResult.ALREADY_THERE
    assert store.read_sidecar(KEY) == OLD
    assert names(store) == [f"{KEY}.json"]


@pytest.mark.parametrize("before", [None, b""])
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "FAT")

    monkeypatch.setattr(os, "link", no_links)
    store = store_of("local", tmp_path.resolve())
    if before is not None:
        (tmp_path / "cam").mkdir()
        (tmp_path / f"{KEY}.json").write_bytes(before)
    assert store.commit_sidecar(KEY, OLD) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, NEW) is CommitResult.ALREADY_THERE
    assert store.read_sidecar(KEY) == OLD
    assert names(store) == [f"{KEY}.json"]
    assert all(finding.ok for finding in store.probe())


def test_a_probe_tells_what_to_do_and_leaves_nothing(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", full)
    (finding,) = store.probe()
    assert not finding.ok
    assert "free some space" in finding.meaning
    assert list(store.directory.iterdir()) == []
