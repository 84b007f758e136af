"""Listing in S3's order, and never a step out of the root."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.errors import KeyRefused, OversizedFrame, StoreUnavailable
from framecap.stores.directory_backend import DirectoryBackend
from framecap.stores.local_backend import LocalBackend
from framecap.stores.mount_backend import MountBackend
from framecap.stores.names import MAX_REMEMBERED_REFUSALS

PARTS = st.sampled_from(["a", "b", "a-", "a.", "a0", "A", "camera", "é", "2026", "a.jpg", "a b"])
FILES = st.sampled_from(["x.jpg", "x.jpg.json", "x.JPG", "x.png", "a.jpg", "a.jpg.json", "a.jpg-.jpg", "0.webp", "é.jpeg"])
KEYS = st.builds(lambda folders, file: "/".join([*folders, file]), st.lists(PARTS, max_size=3), FILES)


@pytest.fixture(params=[LocalBackend, MountBackend])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryBackend:
    root = tmp_path / "frames"
    root.mkdir()
    kind: type[DirectoryBackend] = request.param
    return kind(root.resolve())


def keys(tree: DirectoryBackend, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key for entry in tree.entries(prefix, after)]


def put(tree: DirectoryBackend, key: str, data: bytes = b"x") -> Path:
    path = tree.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@settings(deadline=None, max_examples=150)
@given(
    st.sets(KEYS, max_size=12), st.text(alphabet="a/-.0xjpgé2", max_size=6) | KEYS, st.text("a/-.0xjpg", max_size=6) | KEYS
)
def test_a_listing_is_the_sorted_keys_under_the_prefix_after_the_mark(wanted: set[str], prefix: str, after: str) -> None:
    with TemporaryDirectory() as folder:
        tree = LocalBackend(Path(folder).resolve())
        stored = set()
        for key in wanted:
            path = tree.root / key
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # a name cannot be a file and a folder
            stored.add(key)
        in_order = sorted(stored, key=str.encode)
        assert keys(tree) == in_order
        assert keys(tree, prefix, after) == [key for key in in_order if key.startswith(prefix) and key > after]


def test_hidden_unfinished_and_other_files_are_no_frames(tree: DirectoryBackend) -> None:
    for name in [
        "a.jpg",
        ".hidden.jpg",
        "b.jpg.tmp",
        "c.jpg.part",
        ".folder/d.jpg",
        "notes.txt",
        "e.json",
        "a.jpg.json.tmp",
        "a.jpg.JSON",
        "b.jpg.JSON",
        "a.jpg.json.json",
    ]:
        put(tree, name)
    assert keys(tree) == ["a.jpg"]


def test_an_entry_tells_size_time_and_changes_its_mark_with_the_content(tree: DirectoryBackend) -> None:
    path = put(tree, "cam/a.jpg", b"12345")
    os.utime(path, ns=(0, 1_700_000_000_500_000_000))
    (entry,) = tree.entries()
    assert (entry.size, entry.modified) == (5, 1_700_000_000.5)
    assert tree.stat("cam/a.jpg") == entry
    path.write_bytes(b"54321")
    assert tree.stat("cam/a.jpg") != entry
    assert tree.stat("cam/b.jpg") is None
    assert tree.stat("cam/none/b.jpg") is None


@pytest.mark.faults(27)
def test_symbolic_links_are_not_followed(tree: DirectoryBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    put(tree, "cam/a.jpg")
    (tree.root / "link").symlink_to(outside)
    (tree.root / "cam" / "b.jpg").symlink_to(outside / "secret.jpg")
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == keys(tree) == ["cam/a.jpg"]
    assert caplog.text.count("a symbolic link") == 2, "each is said once, however often it is listed"
    for key in ["cam/b.jpg", "link/secret.jpg"]:
        with pytest.raises(KeyRefused):
            tree.read(key, 100)
    with pytest.raises(KeyRefused):
        tree.create("link/new.jpg", b"x")
    assert tree.create("cam/b.jpg", b"x") is False
    assert [path.name for path in outside.iterdir()] == ["secret.jpg"]
    assert (outside / "secret.jpg").read_bytes() == b"secret"


@pytest.mark.faults(27)
@pytest.mark.parametrize("prefix", ["../", "../outside/", "cam/../../outside/", "/", "./", "cam//"])
def test_a_prefix_cannot_lead_out(tree: DirectoryBackend, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"secret")
    put(tree, "cam/a.jpg")
    assert keys(tree, prefix) == []
    with pytest.raises(KeyRefused):
        tree.read(f"{prefix}secret.jpg", 100)


@pytest.mark.faults(27)
def test_a_fifo_neither_hangs_nor_is_a_frame(tree: DirectoryBackend) -> None:
    os.mkfifo(tree.root / "pipe.jpg")
    (tree.root / "folder.jpg").mkdir()
    put(tree, "folder.jpg/a.jpg")
    assert keys(tree) == ["folder.jpg/a.jpg"]
    assert tree.stat("pipe.jpg") is None
    for key in ["pipe.jpg", "folder.jpg"]:
        with pytest.raises(KeyRefused):
            tree.read(key, 100)


def a_link(path: Path) -> None:
    path.symlink_to("/nowhere")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.faults(27)
@pytest.mark.parametrize("take", [Path.mkdir, a_link, a_socket, os.mkfifo])
def test_what_stands_where_a_sidecar_belongs_is_listed_reported_once_and_never_read(
    tree: DirectoryBackend, take: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Unlisted, its frame would be captioned again and again, and no commit would ever succeed."""
    put(tree, "cam/a.jpg")
    take(tree.root / "cam" / "a.jpg.json")
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == keys(tree, "cam/") == ["cam/a.jpg", "cam/a.jpg.json"]
    assert all(entry.size > 0 for entry in tree.entries())
    (record,) = caplog.records
    assert "until you move it away" in record.getMessage()
    with pytest.raises(KeyRefused):
        tree.read("cam/a.jpg.json", 100)


@pytest.mark.faults(18)
def test_a_folder_whose_files_may_not_be_looked_at_hides_only_itself(
    tree: DirectoryBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Mode r--: its names can be read, and nothing of what they name."""
    put(tree, "a.jpg")
    put(tree, "closed/b.jpg")
    put(tree, "closed/c.jpg")
    put(tree, "open/d.jpg")
    look = os.stat

    def stat(name: str, **options: Any) -> os.stat_result:
        if name in ("b.jpg", "c.jpg"):
            raise PermissionError(13, "Permission denied")
        return look(name, **options)

    monkeypatch.setattr(os, "stat", stat)
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == keys(tree) == ["a.jpg", "open/d.jpg"]
    assert [record.getMessage() for record in caplog.records] == [
        "skipped: 'closed/': no right to read this folder: the frames in it are not seen"
    ]


@pytest.mark.faults(18)
def test_a_folder_that_may_not_be_opened_hides_only_itself_in_every_listing(
    tree: DirectoryBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(tree, "lost+found/b.jpg")
    put(tree, "open/d.jpg")
    open_one = os.open

    def refuse(name: Any, *arguments: Any, **options: Any) -> int:
        if name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return open_one(name, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == ["open/d.jpg"]
        assert keys(tree, "lost+found/") == keys(tree, "lost+found/", "lost+found/a.jpg") == []
    assert [record.getMessage() for record in caplog.records] == [
        "skipped: 'lost+found/': no right to read this folder: the frames in it are not seen"
    ]


@pytest.mark.faults(27)
def test_a_link_that_leads_nowhere_stops_no_listing(tree: DirectoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    put(tree, "a.jpg")
    (tree.root / "circle").symlink_to("circle")
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == ["a.jpg"]
        assert list(tree.top()) == list(tree.entries())
    assert "'circle': a symbolic link" in caplog.text


@pytest.mark.faults(27)
def test_names_that_no_key_can_have_are_skipped_and_logged_escaped(
    tree: DirectoryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    put(tree, "good é.jpg")
    put(tree, "two\nlines.jpg")
    put(tree, "bad\nfolder/a.jpg")
    put(tree, "n" * 248 + ".jpg")  # no room for the sidecar's suffix
    os.close(os.open(os.fsencode(tree.root) + b"/latin\xe9.jpg", os.O_CREAT | os.O_WRONLY))
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == keys(tree) == ["good é.jpg"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    assert all(message.isprintable() and message.isascii() for message in messages)


def test_refusals_take_bounded_memory(tree: DirectoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(MAX_REMEMBERED_REFUSALS + 50):
        put(tree, f"{number}\n.jpg")
    with caplog.at_level(logging.WARNING):
        assert keys(tree) == []
        assert keys(tree) == []
    assert len(caplog.records) == MAX_REMEMBERED_REFUSALS + 1
    assert "no more of them are logged" in caplog.text


def test_a_read_stops_at_the_limit(tree: DirectoryBackend) -> None:
    put(tree, "a.jpg", b"12345")
    assert tree.read("a.jpg", 5) == b"12345"
    with pytest.raises(OversizedFrame):
        tree.read("a.jpg", 4)


def test_a_file_that_grows_while_it_is_read_stays_under_the_limit(
    tree: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tree, "a.jpg", b"1")
    real = os.read

    def read_and_grow(file: int, size: int) -> bytes:
        with path.open("ab") as stream:
            stream.write(b"22222222")
        return real(file, size)

    monkeypatch.setattr(os, "read", read_and_grow)
    with pytest.raises(OversizedFrame):
        tree.read("a.jpg", 6)


def test_what_vanishes_during_a_listing_is_skipped(tree: DirectoryBackend) -> None:
    paths = [put(tree, f"{camera}/{number}.jpg") for camera in "abc" for number in range(3)]
    listing: Iterator[str] = (entry.key for entry in tree.entries())
    assert next(listing) == "a/0.jpg"
    for path in paths:
        path.unlink()
    (tree.root / "c").rmdir()
    assert list(listing) == []


def test_a_listing_that_is_given_up_leaves_no_open_files(tree: DirectoryBackend) -> None:
    put(tree, "a/b/c/d.jpg")
    before = open_files()
    listing = tree.entries()
    next(listing)
    del listing
    assert open_files() == before


@pytest.mark.parametrize("failing", ["stat", "open", "scandir"])
@pytest.mark.faults(18)
def test_a_store_that_goes_away_in_mid_listing_says_so(
    tree: DirectoryBackend, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    put(tree, "a/b.jpg")
    before = open_files()

    def fail(*_: object, **__: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(StoreUnavailable, match="mount it again"):
            keys(tree)
    assert keys(tree) == ["a/b.jpg"]
    assert open_files() == before


def test_a_root_that_is_gone_is_an_outage_and_no_empty_listing(tree: DirectoryBackend) -> None:
    put(tree, "a.jpg")
    elsewhere = tree.root.rename(tree.root.with_name("elsewhere"))
    for use in (lambda: keys(tree), lambda: tree.stat("a.jpg"), lambda: tree.read("a.jpg", 9), lambda: tree.delete("a.jpg")):
        with pytest.raises(StoreUnavailable):
            use()
    elsewhere.rename(tree.root)
    assert keys(tree) == ["a.jpg"]


def test_another_file_system_at_the_root_is_an_outage(tree: DirectoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount is gone and the bare mount point shows: nothing must go below it."""
    monkeypatch.setattr(tree, "_device", -1)
    monkeypatch.setattr(tree, "_file_system", type(tree._file_system)("/mnt/bucket", "fuse.s3fs"))
    with pytest.raises(StoreUnavailable, match="mount it again"):
        tree.create("a.jpg", b"x")
    assert list(tree.root.iterdir()) == []


def test_leftovers_of_dead_writers_are_removed_in_passing(tree: DirectoryBackend) -> None:
    old, young = ".framecap-0123456789abcdef-7.tmp", ".framecap-0123456789abcdef-8.tmp"
    for name in (old, young, ".other-7.tmp"):
        path = put(tree, f"cam/{name}")
        if name != young:
            os.utime(path, (time.time() - 7200,) * 2)
    assert keys(tree) == []
    assert sorted(path.name for path in (tree.root / "cam").iterdir()) == [young, ".other-7.tmp"]


def test_many_threads_list_and_read_at_once(tree: DirectoryBackend) -> None:
    for number in range(50):
        put(tree, f"cam/{number}.jpg", b"x" * number)
    wrong: list[object] = []

    def use() -> None:
        for entry in tree.entries():
            data = tree.read(entry.key, 100)
            if data is None or len(data) != entry.size:
                wrong.append(entry)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
