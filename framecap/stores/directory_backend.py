"""A directory in, a tree of keys out: sorted listing, reading and opening that never leave the root."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from framecap.errors import KeyRefused, OversizedFrame, StoreUnavailable
from framecap.frames import SIDECAR_SUFFIX, parse_key
from framecap.stores.base import Entry, ProbeFinding
from framecap.stores.faults import guarded, unavailable
from framecap.stores.mounts import file_system_of
from framecap.stores.names import Refusals, is_listed, is_sidecar, leads_on
from framecap.telemetry import mask

TEMPORARY = re.compile(r"\.framecap-[0-9a-f]+-\d+\.tmp")  # what a writer of ours leaves behind when it dies
DEAD_AFTER = 3600.0  # seconds: no writer of ours takes that long over one file

_NO_RIGHT = "no right to read this folder: the frames in it are not seen"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Level:
    """A folder being listed: its key (with the final `/`), its descriptor, the names still to come, the next one last."""

    key: str
    folder: int
    names: list[str] = field(default_factory=list)


class DirectoryBackend(ABC):
    """The files below one root, read and listed; how a file comes to be is each kind's own."""

    hints: ClassVar[bool] = False  # whether file-system events tell of every change here
    whole: ClassVar[bool] = False  # other programs' files are there before they are finished, and a mount's may be torn

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file_system = file_system_of(root)
        self._device = root.stat().st_dev
        self._refusals = Refusals()

    @property
    def address(self) -> str:
        return mask(str(self.root))

    @property
    def directory(self) -> Path:
        return self.root

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write a file, whole and durable; False when something is there already (an empty file counts as nothing)."""

    @abstractmethod
    def replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        """Write a file in place of the one that holds `if_match`; False when it holds something else by now."""

    @abstractmethod
    def probe(self) -> tuple[ProbeFinding, ...]:
        """Try what `create` rests on, and clean up."""

    @abstractmethod
    def etag(self, status: os.stat_result) -> str:
        """A mark that changes when the file does."""

    def stat(self, path: str) -> Entry | None:
        """One file's entry; None when there is no such regular file."""
        with self.parent(path, "stat") as backend:
            if backend is None:
                return None
            return self._entry_at(*backend, path)

    def read(self, path: str, limit: int) -> bytes | None:
        """One file's bytes; None when it is not there. Raises OversizedFrame above `limit` bytes."""
        with self.parent(path, "read") as backend:
            if backend is None:
                return None
            return self._read_at(*backend, path, limit)

    def delete(self, path: str) -> None:
        with self.parent(path, "delete") as backend, suppress(FileNotFoundError):
            if backend is not None:
                os.unlink(backend[1], dir_fd=backend[0])

    def delete_all(self, paths: Sequence[str]) -> None:
        """Delete many files; folders of own keys (hour, day, month, year) that are empty then go with them."""
        for path in paths:
            self.delete(path)
        own = (path for path in paths if parse_key(path.removesuffix(SIDECAR_SUFFIX)))
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in own):
            self._remove_empty(folder)

    def _remove_empty(self, folder: str) -> None:
        while folder.count("/"):  # the camera's own folder stays
            with self.parent(folder, "delete") as backend:
                if backend is None:
                    return
                try:
                    os.rmdir(backend[1], dir_fd=backend[0])
                except OSError:  # not empty, or gone
                    return
            folder = folder.rpartition("/")[0]

    def entries(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Frames and sidecars in the byte order of their keys: whose key starts with `prefix` and sorts after `after`."""
        start = prefix[: prefix.rfind("/") + 1]
        if start < after and not after.startswith(start):
            return
        levels: list[_Level] = []
        try:
            top = self._open_start(start)
            if top is not None:
                levels.append(top)
                self._read_names(top, prefix, after)
            while levels:
                level = levels[-1]
                if not level.names:
                    os.close(levels.pop().folder)
                    continue
                name = level.names.pop()
                if name.endswith("/"):
                    below = self._open_listed(level, name)
                    if below is not None:
                        levels.append(below)
                        self._read_names(below, prefix, after)
                    continue
                entry = self._listed_entry(level, name)
                if entry is not None:
                    yield entry
        except OSError as error:
            raise unavailable(error, "list", str(self.root)) from error
        finally:
            for level in levels:
                os.close(level.folder)

    def top(self) -> Iterator[Entry | str]:
        """What lies directly in the root, in byte order: frames and sidecars as entries, folders as keys that end in `/`."""
        with guarded("list", str(self.root)):
            level = self._open_start("")
        assert level is not None, "the root is the start of every key"
        try:
            self._read_names(level, "", "")
            while level.names:
                name = level.names.pop()
                item = name if name.endswith("/") else self._listed_entry(level, name)
                if item is not None:
                    yield item
        except OSError as error:
            raise unavailable(error, "list", str(self.root)) from error
        finally:
            os.close(level.folder)

    def _open_start(self, key: str) -> _Level | None:
        try:
            folder = self._descend(key.split("/")[:-1], create=False)
        except KeyRefused:  # no key can begin like this
            return None
        except PermissionError:
            if not key:
                raise
            self._refusals.say(key, _NO_RIGHT)
            return None
        return None if folder is None else _Level(key, folder)

    def _open_listed(self, level: _Level, name: str) -> _Level | None:
        try:
            return _Level(level.key + name, os.open(name[:-1], _FOLDER, dir_fd=level.folder))
        except (FileNotFoundError, NotADirectoryError):  # it has gone since, or is another thing by now
            return None
        except PermissionError:
            self._refusals.say(level.key + name, _NO_RIGHT)
            return None

    def _listed_entry(self, level: _Level, name: str) -> Entry | None:
        try:
            return self._entry_at(level.folder, name, level.key + name)
        except PermissionError:  # its names may be read, but nothing of what they name
            if not level.key:
                raise
            self._refusals.say(level.key, _NO_RIGHT)
            level.names.clear()
            return None

    def _read_names(self, level: _Level, prefix: str, after: str) -> None:
        """The level's wanted names, folders with a final `/`, in falling order: in S3's order from the end."""
        prefix = prefix[len(level.key) :]
        after = after[len(level.key) :] if after.startswith(level.key) else ""
        with os.scandir(level.folder) as found:
            for item in found:
                name = item.name
                if name[0] == ".":
                    if TEMPORARY.fullmatch(name):
                        _remove_dead(level.folder, name)
                    continue
                is_folder = item.is_dir(follow_symlinks=False)
                if is_folder and leads_on(name + "/", prefix, after) and self._is_acceptable(level.key, name + "/", item):
                    level.names.append(name + "/")
                wanted = name > after and name.startswith(prefix)
                wanted = wanted and (is_sidecar(name) if is_folder else is_listed(name) or _is_linked_folder(item))
                if wanted and self._is_acceptable(level.key, name, item):
                    level.names.append(name)
        level.names.sort(reverse=True)

    def _is_acceptable(self, folder: str, name: str, item: os.DirEntry[str]) -> bool:
        if item.is_symlink() and not is_sidecar(name):
            self._refusals.say(folder + name, "a symbolic link: links are not followed, move or mount what it points to")
            return False
        return self._refusals.accepts(folder, name)

    def _entry_at(self, folder: int, name: str, key: str) -> Entry | None:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISREG(status.st_mode):
            return Entry(key, status.st_size, status.st_mtime, self.etag(status))
        if not is_sidecar(name):
            return None
        self._refusals.say(key, "no regular file, but where a sidecar belongs: its frame gets none until you move it away")
        return Entry(key, max(status.st_size, 1), status.st_mtime, self.etag(status))

    @contextmanager
    def parent(self, path: str, operation: str, create: bool = False) -> Iterator[tuple[int, str] | None]:
        """The folder of `path` as an open descriptor, and the name in it; None when there is no such folder.

        No symbolic link below the root is followed. OSError of the block becomes StoreUnavailable.
        """
        *folders, name = path.split("/")
        with guarded(operation, str(self.root / path)):
            folder = self._descend(folders, create)
            if folder is None:
                yield None
                return
            try:
                yield folder, name
            finally:
                os.close(folder)

    def _descend(self, folders: list[str], create: bool) -> int | None:
        if any(part in ("", ".", "..") for part in folders):
            raise KeyRefused(f"{'/'.join(folders)[:200]!a}: no plain path below the store")
        here = self._open_root()
        try:
            for part in folders:
                below = self._open_folder(here, part, create)
                os.close(here)
                here = below
        except FileNotFoundError:
            os.close(here)
            return None
        except NotADirectoryError:
            os.close(here)
            raise KeyRefused(f"{'/'.join(folders)[:200]!a}: one of its folders is a file or a symbolic link") from None
        except BaseException:
            os.close(here)
            raise
        return here

    def _open_folder(self, above: int, name: str, create: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
            sync_folder(above)
        return os.open(name, _FOLDER, dir_fd=above)

    def _open_root(self) -> int:
        """The root; raises StoreUnavailable when what was mounted there is not there now: nothing may go below a mount."""
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unavailable(error, "open", str(self.root)) from error
        device = os.fstat(root).st_dev
        if device != self._device:
            now = file_system_of(self.root)
            if now != self._file_system:
                os.close(root)
                raise StoreUnavailable(
                    f"{mask(str(self.root))!r} was on {self._file_system.type} mounted at {self._file_system.mount_point!r} "
                    f"and is on {now.type} now: mount it again"
                )
            self._device = device
        return root

    def _read_at(self, folder: int, name: str, path: str, limit: int) -> bytes | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise KeyRefused(f"{path[:200]!a}: a symbolic link: links are not followed") from None
            if error.errno == errno.ENXIO:
                raise KeyRefused(f"{path[:200]!a}: a socket, or a device that is not there") from None
            raise
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise KeyRefused(f"{path[:200]!a}: no regular file")
            if status.st_size > limit:
                raise OversizedFrame(f"{path[:200]!a}: {status.st_size} bytes, the limit is {limit}")
            return _read_up_to(file, status.st_size, limit, path)
        finally:
            os.close(file)


def _read_up_to(file: int, expected: int, limit: int, path: str) -> bytes:
    chunks = []
    size = 0
    while chunk := os.read(file, max(expected - size, 0) + 1):  # one byte more sees the end at once
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise OversizedFrame(f"{path[:200]!a}: more than {limit} bytes")
    return b"".join(chunks)


def write_all(file: int, data: bytes) -> None:
    """Write all of it: a file system may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sync_folder(folder: int) -> None:
    """Make a folder's entries durable; file systems that cannot do that are left alone."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def _is_linked_folder(item: os.DirEntry[str]) -> bool:
    """A link whose target may not be looked at, or leads in a circle, may be to a folder, too."""
    try:
        return item.is_symlink() and item.is_dir()
    except OSError:
        return True


def _remove_dead(folder: int, name: str) -> None:
    with suppress(OSError):
        if time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > DEAD_AFTER:
            os.unlink(name, dir_fd=folder)
