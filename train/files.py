"""A path and bytes in, a file that is whole or not there out; folders, claims to them, and JSON that may be anything."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framecap.errors import ConfigError, StoreUnavailable


def make_folder(path: Path) -> None:
    """Make the folder and those above it, where they are not there yet. Raises ConfigError, saying why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: no folder can be made there ({error.strerror}): name another one") from None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """No other process is in here with the same folder. Raises ConfigError where one is.

    The claim is not inherited: a killed process's children, which may outlive it for seconds, do not hold it.
    """
    path = folder / ".claim"
    try:
        file = path.open("wb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): name another folder") from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # otherwise: a file system without locks
                raise ConfigError(
                    f"{folder}: another process is at work there: wait for it, or name another folder"
                ) from None
        yield


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def parse_json(data: bytes | str) -> Any:
    """The value. Raises ValueError for what is not JSON, and for lists in lists without end, too."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Put the file in place of what was there.

    It is written beside, flushed to the disk, renamed. Raises StoreUnavailable (disk full, away); what was there is then
    unharmed.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            _flush(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: cannot be written ({error.strerror}): make room or name another folder; nothing torn was left there"
        ) from None


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
