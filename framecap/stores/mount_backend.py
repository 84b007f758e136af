"""A mounted directory (a bucket through FUSE, NFS, ...): a file is written once, under its final name, never renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from framecap.errors import StoreError
from framecap.stores.base import ProbeFinding
from framecap.stores.directory_backend import DirectoryBackend, write_all

_PROBE = ".framecap-probe.tmp"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class MountBackend(DirectoryBackend):
    """One exclusive create, write, fsync, close: an object appears at close, and fsync is what reports that it could not.

    Exclusive create binds the writers of this machine; on s3fs it does not bind two machines. An empty file is what a dead
    writer left, or one that a living writer of this machine is about to fill: the living one holds a lock on it.
    """

    def etag(self, status: os.stat_result) -> str:
        return f"{status.st_mtime_ns:x}-{status.st_size:x}"  # inode numbers change between two looks at a mount

    def create(self, path: str, data: bytes) -> bool:
        with self.parent(path, "write", create=True) as backend:
            if backend is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            folder, name = backend
            try:
                return _write_new(folder, name, data)
            except FileExistsError:
                return _replace(folder, name, data)

    def replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        with self.parent(path, "write") as backend:
            if backend is None:
                return False
            folder, name = backend
            if self._read_at(folder, name, path, max(len(if_match), 1) + (1 << 20)) != if_match:
                return False
            os.unlink(name, dir_fd=folder)  # a death after this leaves no sidecar: the frame is pending again
            return _write_new(folder, name, data)

    def probe(self) -> tuple[ProbeFinding, ...]:
        try:
            with self.parent(_PROBE, "write") as backend:
                assert backend is not None, "the root is the parent of its own names"
                return self._probe_in(backend[0])
        except StoreError as error:
            return (ProbeFinding("write a file", False, str(error)),)

    def _probe_in(self, folder: int) -> tuple[ProbeFinding, ...]:
        with suppress(FileNotFoundError):
            os.unlink(_PROBE, dir_fd=folder)
        try:
            _write_new(folder, _PROBE, b"first")
            again = True
            try:
                _write_new(folder, _PROBE, b"second")
            except FileExistsError:
                again = False
            whole = self._read_at(folder, _PROBE, _PROBE, 100) == b"first"
        finally:
            with suppress(OSError):
                os.unlink(_PROBE, dir_fd=folder)
        return (
            ProbeFinding("write a file and read it back", whole, "sidecars are written once, under their final name"),
            ProbeFinding(
                "refuse to create it again",
                not again,
                "no frame is committed twice from this machine; give workers on other machines shards or a queue",
            ),
        )


def _write_new(folder: int, name: str, data: bytes) -> bool:
    """Create, fill, close; False when another writer of this machine was quicker to fill it."""
    file = os.open(name, _NEW, 0o666, dir_fd=folder)
    try:
        return _fill(file, folder, name, data)
    finally:
        os.close(file)


def _replace(folder: int, name: str, data: bytes) -> bool:
    """Fill what a dead writer left empty; False when something else has the name, or it is not empty."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or status.st_size > 0:
        return False
    try:
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except PermissionError:  # mountpoint-s3 writes to new files only
        os.unlink(name, dir_fd=folder)
        return _write_new(folder, name, data)
    try:
        return _fill(file, folder, name, data)
    finally:
        os.close(file)


def _fill(file: int, folder: int, name: str, data: bytes) -> bool:
    _lock(file)
    if os.fstat(file).st_size > 0:
        return False
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:  # another writer failed, and has removed it
        raise _busy() from None
    try:
        write_all(file, data)
        os.fsync(file)
    except OSError:
        with suppress(OSError):  # an empty file counts as absent, should the unlink fail
            os.ftruncate(file, 0)
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return True


def _lock(file: int) -> None:
    """Held until the file is closed. Where there are no locks, one writer a store is the rule anyway."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy() from None
    except OSError:
        pass


def _busy() -> OSError:
    """Another writer is at it just now: the store says that it is to be tried again."""
    return OSError(errno.EBUSY, os.strerror(errno.EBUSY))
