"""What every kind of store keeps: local and mounted directories, and a bucket of a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from framecap.errors import FrameGone, KeyRefused, OversizedFrame, StoreUnavailable
from framecap.frames import MAX_SIDECAR_BYTES
from framecap.sidecars import sidecar
from framecap.stores.base import CommitResult, PutResult, Store
from framecap.stores.directory import DirectoryStore
from framecap.stores.local_backend import LocalBackend
from framecap.stores.mount_backend import MountBackend
from tests.s3 import Bucket

KEY = "cam/a.jpg"
OLD, NEW = b'{"status": "old", "frame": {}}', b'{"status": "new", "frame": {}, "caption": "a dog"}'
ODD_KEYS = (
    "cam/with space+plus.jpg",
    "cam/\u00fcber \U0001f600 \uffee.JPG",
    "cam/100%20&<>'\"?#=;,.png",
    "cam-1/a.jpg",
    "cam.1/a.jpg",
    "cam/deep/er/a.webp",
    "cam.jpg",
    "loose.jpeg",
)


@dataclass(frozen=True)
class Bench:
    """A store, and what is really there."""

    store: Store
    address: Path | Bucket

    def put(self, path: str, data: bytes) -> None:
        if isinstance(self.address, Bucket):
            self.address.put(path, data)
        else:
            (self.address / path).parent.mkdir(parents=True, exist_ok=True)
            (self.address / path).write_bytes(data)

    def paths(self) -> list[str]:
        if isinstance(self.address, Bucket):
            return self.address.paths()
        return sorted(path.relative_to(self.address).as_posix() for path in self.address.rglob("*") if path.is_file())


@pytest.fixture(params=["local", "mounted", "s3"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return Bench(bucket.store(), bucket)
    tree = LocalBackend if request.param == "local" else MountBackend
    return Bench(DirectoryStore(tree(tmp_path.resolve())), tmp_path.resolve())


@pytest.fixture
def store(bench: Bench) -> Store:
    return bench.store


def test_the_first_commit_counts(bench: Bench) -> None:
    store = bench.store
    assert store.read_sidecar(KEY) is None
    assert store.commit_sidecar(KEY, OLD) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, NEW) is CommitResult.ALREADY_THERE
    assert store.commit_sidecar(KEY, OLD) is CommitResult.ALREADY_THERE, (
        "the same content was not written by this call either"
    )
    assert store.read_sidecar(KEY) == OLD
    assert bench.paths() == [f"{KEY}.json"], "nothing else is left"


@pytest.mark.faults(31)
def test_an_empty_sidecar_counts_as_absent(bench: Bench) -> None:
    for key in (KEY, "cam/b.jpg"):
        bench.put(f"{key}.json", b"")
        assert bench.store.commit_sidecar(key, NEW) is CommitResult.COMMITTED
        assert bench.store.commit_sidecar(key, OLD) is CommitResult.ALREADY_THERE
        assert bench.store.read_sidecar(key) == NEW
    assert bench.paths() == [f"{KEY}.json", "cam/b.jpg.json"]


def test_a_sidecar_is_replaced_only_when_it_is_the_expected_one(bench: Bench) -> None:
    store = bench.store
    assert store.replace_sidecar(KEY, NEW, if_match=OLD) is CommitResult.ALREADY_THERE
    store.commit_sidecar(KEY, OLD)
    assert store.replace_sidecar(KEY, NEW, if_match=OLD[:-1]) is CommitResult.ALREADY_THERE
    assert store.replace_sidecar(KEY, NEW, if_match=OLD + b" ") is CommitResult.ALREADY_THERE
    assert store.replace_sidecar(KEY, NEW, if_match=OLD) is CommitResult.COMMITTED
    assert store.replace_sidecar(KEY, b"", if_match=OLD) is CommitResult.ALREADY_THERE, (
        "what is there may be larger than both"
    )
    assert store.read_sidecar(KEY) == NEW
    assert bench.paths() == [f"{KEY}.json"]


def test_a_frame_is_stored_once_and_never_overwritten(bench: Bench) -> None:
    store = bench.store
    assert store.put_frame(KEY, b"first") is PutResult.STORED
    assert store.put_frame(KEY, b"second") is PutResult.ALREADY_THERE
    assert store.read(KEY, 100) == b"first"
    store.delete(KEY)
    store.delete(KEY)
    assert bench.paths() == []
    assert store.put_frame(KEY, b"third") is PutResult.STORED


def race(bench: Bench, write: Callable[[int], CommitResult]) -> tuple[int, list[list[CommitResult | None]]]:
    """Several writers for each of several frames, all at once: how many for each, and what became of them, by frame."""
    # SeaweedFS makes the writers of one object wait for a second each
    frames, writers = (8, 3) if isinstance(bench.address, Bucket) else (20, 8)
    barrier = threading.Barrier(frames * writers)

    def one(number: int) -> CommitResult | None:
        barrier.wait()
        try:
            return write(number)
        except StoreUnavailable:  # on a mount: another is writing it just now
            return None

    with ThreadPoolExecutor(frames * writers) as pool:
        outcomes = list(pool.map(one, [100 * frame + writer for frame in range(frames) for writer in range(writers)]))
    return writers, [outcomes[writers * frame : writers * (frame + 1)] for frame in range(frames)]


def _sidecar(number: int) -> bytes:
    return b'{"status": "captioned", "frame": {}, "writer": %d}' % number


def test_of_many_writers_one_is_first(bench: Bench) -> None:
    store = bench.store
    _, outcomes = race(bench, lambda number: store.commit_sidecar(f"cam/{number // 100}.jpg", _sidecar(number)))
    for frame, of_frame in enumerate(outcomes):
        assert of_frame.count(CommitResult.COMMITTED) == 1
        winner = 100 * frame + of_frame.index(CommitResult.COMMITTED)
        assert store.read_sidecar(f"cam/{frame}.jpg") == _sidecar(winner)


@pytest.mark.parametrize("before", [b"torn", b""])
def test_of_many_writers_one_replaces(bench: Bench, before: bytes) -> None:
    store = bench.store
    if isinstance(bench.address, Path) and not store.hints:
        return  # a mount cannot rename: what is promised there is one sidecar, not one writer

    def write(number: int) -> CommitResult:
        key = f"cam/{number // 100}.jpg"
        if before:
            return store.replace_sidecar(key, _sidecar(number), if_match=before)
        return store.commit_sidecar(key, _sidecar(number))

    for frame in range(20):
        bench.put(f"cam/{frame}.jpg.json", before)
    writers, outcomes = race(bench, write)
    assert [of_frame.count(CommitResult.COMMITTED) for of_frame in outcomes] == [1] * len(outcomes)
    assert [of_frame.count(CommitResult.ALREADY_THERE) for of_frame in outcomes] == [writers - 1] * len(outcomes)


def test_keys_that_lead_out_are_refused(bench: Bench) -> None:
    store = bench.store
    for key in ("../a.jpg", "/etc/a.jpg", "cam/../../a.jpg", "cam//a.jpg", "a\n.jpg", "cam/notes.txt"):
        for use in (
            lambda key=key: store.put_frame(key, b"x"),
            lambda key=key: store.commit_sidecar(key, b"x"),
            lambda key=key: store.read(key, 10),
            lambda key=key: store.stat(key),
            lambda key=key: store.delete(key),
        ):
            with pytest.raises(KeyRefused):
                use()
    assert bench.paths() == []


def test_a_frame_that_is_gone(store: Store) -> None:
    for use in (lambda: store.stat(KEY), lambda: store.read(KEY, 10)):
        with pytest.raises(FrameGone):
            use()


def test_a_read_stops_at_the_limit(store: Store) -> None:
    store.put_frame(KEY, b"x" * 1000)
    assert store.read(KEY, 1000) == b"x" * 1000
    with pytest.raises(OversizedFrame, match="1000 bytes, the limit is 999"):
        store.read(KEY, 999)


def test_a_file_too_large_for_a_sidecar_reads_as_another_program_s(bench: Bench) -> None:
    bench.put(f"{KEY}.json", b"x" * (MAX_SIDECAR_BYTES + 1))
    assert sidecar.is_foreign(bench.store.read_sidecar(KEY) or b"")


def test_odd_keys_are_listed_in_the_byte_order_of_keys_with_their_sidecars(store: Store) -> None:
    for key in ODD_KEYS:
        assert store.put_frame(key, key.encode()) is PutResult.STORED
        assert store.commit_sidecar(key, NEW) is CommitResult.COMMITTED
    expected = sorted(key + suffix for key in ODD_KEYS for suffix in ("", ".json"))
    listed = list(store.list())
    assert [entry.key for entry in listed] == expected
    for entry in listed:
        if not entry.key.endswith(".json"):
            assert store.read(entry.key, entry.size) == entry.key.encode()
            assert store.stat(entry.key).etag == entry.etag
    for prefix, after in (
        ("cam/", ""),
        ("cam", "cam-1/a.jpg"),
        ("", "cam/"),
        ("cam/", "cam/with space+plus.jpg"),
        ("x", ""),
    ):
        wanted = [key for key in expected if key.startswith(prefix) and key > after]
        assert [entry.key for entry in store.list(prefix, after)] == wanted
    top = [item if isinstance(item, str) else item.key for item in store.top()]
    assert top == sorted({key[: key.find("/") + 1] or key for key in expected})


def test_hidden_unfinished_and_other_names_are_no_frames(bench: Bench) -> None:
    for path in (".a.jpg", ".cam/a.jpg", "cam/.b.jpg", "cam/c.jpg.part", "cam/d.tmp", "e.txt", "f.json", "cam/g.jpg"):
        bench.put(path, b"x")
    assert [entry.key for entry in bench.store.list()] == ["cam/g.jpg"]
    assert list(bench.store.top()) == ["cam/"]


def test_an_entry_changes_its_mark_with_the_content(bench: Bench) -> None:
    bench.put(KEY, b"one")
    (before,) = bench.store.list()
    assert before.size == 3
    bench.put(KEY, b"other")
    (after,) = bench.store.list()
    assert (after.key, after.size) == (KEY, 5)
    assert after.etag != before.etag


def test_a_probe_tells_and_leaves_nothing(bench: Bench) -> None:
    findings = bench.store.probe()
    assert findings
    assert [finding for finding in findings if not finding.ok] == []
    assert bench.paths() == []
