"""A directory on a disk of this machine: a file is made durable before it has its name, then linked into place."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from framecap.errors import StoreError
from framecap.stores.base import ProbeFinding
from framecap.stores.directory_backend import DirectoryBackend, sync_folder, write_all

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # FAT and the like
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)  # FAT, NFS and the like; old kernels
_TRIES = 5  # a file that comes and goes under our hands


class LocalBackend(DirectoryBackend):
    """Files here are whole or not there, whatever kills the writer; of two writers one is first."""

    hints = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        # A map, not a generator: several threads may ask it for the next name at the same time.
        self._names_of_temporaries = map(f".framecap-{secrets.token_hex(8)}-{{}}.tmp".format, itertools.count())

    def etag(self, status: os.stat_result) -> str:
        return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"

    def create(self, path: str, data: bytes) -> bool:
        with self.parent(path, "write", create=True) as backend:
            if backend is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            folder, name = backend
            if _size(folder, name):
                return False
            combined = _write_and_link(folder, data, name)
            if not combined:
                with self._temporary(folder, data) as temporary:
                    combined = _path(folder, temporary, name)
            sync_folder(folder)
            return combined

    def replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        with self.parent(path, "write") as backend:
            if backend is None:
                return False
            folder, name = backend
            with self._temporary(folder, data) as temporary:
                combined = _swap(folder, temporary, name, if_match) is True
            sync_folder(folder)
            return combined

    @contextmanager
    def _temporary(self, folder: int, data: bytes) -> Iterator[str]:
        """A hidden file in the same folder that holds `data`, durably; it is gone after the block."""
        name = next(self._names_of_temporaries)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            try:
                write_all(file, data)
                os.fsync(file)
            finally:
                os.close(file)
            yield name
        finally:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)

    def probe(self) -> tuple[ProbeFinding, ...]:
        try:
            with self.parent("probe", "write") as backend:
                assert backend is not None, "the root is the parent of its own names"
                return self._probe_in(backend[0])
        except StoreError as error:
            return (ProbeFinding("write a file", False, str(error)),)

    def _probe_in(self, folder: int) -> tuple[ProbeFinding, ...]:
        with self._temporary(folder, b"first") as first, self._temporary(folder, b"second") as second:
            target = next(self._names_of_temporaries)
            try:
                combined = _path(folder, first, target)
                again = _path(folder, second, target)
                whole = self._read_at(folder, target, target, 100) == b"first"
            finally:
                with suppress(OSError):
                    os.unlink(target, dir_fd=folder)
        return (
            ProbeFinding("write a file and place it whole", combined and whole, "sidecars are never torn"),
            ProbeFinding("refuse to place a second one", not again, "no frame is committed twice"),
        )


def _size(folder: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _write_and_link(folder: int, data: bytes, name: str) -> bool:
    """Make a durable file without a name, then give it its own; False where that cannot be, or something has the name.

    Half the work of a temporary file, for the disk and for whoever watches the folder (we do), and a kill leaves nothing.
    """
    try:
        file = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_NAMELESS_FILES:
            return False
        raise
    try:
        write_all(file, data)
        os.fsync(file)
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOENT, *_NO_LINKS):  # ENOENT: no /proc here
            return False
        raise
    finally:
        os.close(file)
    return True


def _path(folder: int, temporary: str, name: str) -> bool:
    """Give the temporary file its final name, unless something that is not empty has it."""
    for _ in range(_TRIES):
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _claim(folder, name)
        else:
            return True
        swapped = _swap(folder, temporary, name, b"")
        if swapped is not None:
            return swapped
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _claim(folder: int, name: str) -> None:
    """Where there are no links: an empty file, which counts as absent, and which `_swap` replaces as a whole."""
    with suppress(FileExistsError):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))


def _swap(folder: int, temporary: str, name: str, if_match: bytes) -> bool | None:
    """Rename the temporary file over one that holds `if_match`; None when there is none. A lock on the old file makes
    comparing and renaming one step among the writers of this machine."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not os.path.samestat(now, os.fstat(file)) or os.read(file, len(if_match) + 1) != if_match:
            return False
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        return True
    finally:
        os.close(file)
