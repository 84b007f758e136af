"""The store over one tree or two, and opening it from a configuration."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import framecap.stores.mounts
from framecap.config import StoreConfig
from framecap.errors import ConfigError, FrameUnreadable
from framecap.stores import open_store
from framecap.stores.base import CommitResult


def test_a_directory_that_is_not_there_is_created(tmp_path: Path) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path / "new" / "frames")))
    assert store.directory == (tmp_path / "new" / "frames").resolve()
    assert store.hints
    assert list(store.list()) == []


def test_a_relative_directory_and_one_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "frames").symlink_to("disk")
    store = open_store(StoreConfig(frames="./frames"))
    store.put_frame("cam/a.jpg", b"x")
    assert (tmp_path / "disk" / "cam" / "a.jpg").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://user:secret@bucket/frames", "s3://bucket/prefix is expected"),
        ("https://user:secret@host/bucket", "a directory, or s3://bucket/prefix, is expected"),
        ("FILE", "is a file"),
        ("~nobody-has-this-name/frames", "no such user's home"),
        ("FILE/below", "cannot be opened or created"),
        ("/proc/frames", "a directory that this user can write"),
    ],
)
def test_addresses_that_cannot_work_are_refused_with_what_to_do(tmp_path: Path, address: str, words: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigError, match=words) as caught:
        open_store(StoreConfig(frames=address.replace("FILE", str(tmp_path / "file"))))
    assert "store.frames" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_kind_of_file_system_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 2 0:40 / {tmp_path.resolve()} rw - fuse.s3fs s3fs rw\n")
    real = framecap.stores.mounts.file_system_of
    monkeypatch.setattr(framecap.stores.mounts, "file_system_of", lambda path: real(path, mountinfo))
    assert not open_store(StoreConfig(frames=str(tmp_path / "frames"))).hints


def test_sidecars_under_a_root_of_their_own(tmp_path: Path) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path / "frames"), sidecars=str(tmp_path / "sidecars")))
    for key in ("b/1.jpg", "a/2.jpg", "a.jpg", "a/1.jpg"):
        store.put_frame(key, b"frame")
    for key in ("b/1.jpg", "a/1.jpg", "z/gone.jpg"):
        assert store.commit_sidecar(key, b"sidecar") is CommitResult.COMMITTED
    (tmp_path / "frames" / "a" / "2.jpg.json").write_bytes(b"not where sidecars are")
    (tmp_path / "sidecars" / "frame.jpg").write_bytes(b"not where frames are")
    expected = ["a.jpg", "a/1.jpg", "a/1.jpg.json", "a/2.jpg", "b/1.jpg", "b/1.jpg.json", "z/gone.jpg.json"]
    assert [entry.key for entry in store.list()] == expected
    assert [entry.key for entry in store.list(prefix="a/", after="a/1.jpg")] == expected[2:4]
    assert store.read_sidecar("a/1.jpg") == b"sidecar"
    assert store.read_sidecar("a/2.jpg") is None
    assert all(finding.ok for finding in store.probe())


def test_both_roots_may_be_one(tmp_path: Path) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path), sidecars=f"{tmp_path}/."))
    store.put_frame("a.jpg", b"x")
    store.commit_sidecar("a.jpg", b"{}")
    assert [entry.key for entry in store.list()] == ["a.jpg", "a.jpg.json"]


def test_a_frame_that_this_user_may_not_read_is_no_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path)))
    store.put_frame("a/1.jpg", b"frame")
    plain_open = os.open

    def refusing(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == "1.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return plain_open(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(FrameUnreadable, match="may not read it: change its owner or mode"):
        store.read("a/1.jpg", 100)
