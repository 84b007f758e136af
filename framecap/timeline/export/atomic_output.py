"""A path in; a file or folder that stands there when it is finished, and not before, out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from framecap.errors import ConfigError, StoreUnavailable


@contextmanager
def finished_text(path: Path | None) -> Iterator[TextIO]:
    """A text stream that becomes the file `path`; standard output without one."""
    if path is None:
        yield sys.stdout
        return
    with finished_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path`, in place of one that may be there; an error leaves that as it is.

    Raises ConfigError and StoreUnavailable when it cannot be written.
    """
    unfinished = _beside(path)
    with _reported(path):
        try:
            yield unfinished
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def finished_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes the folder `path`, which must not be there yet, or be empty.

    Raises ConfigError and StoreUnavailable.
    """
    with _reported(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{path}: there is something already: name a new or empty folder")
        unfinished = _beside(path)
        unfinished.mkdir()
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _beside(path: Path) -> Path:
    if not path.name:  # `.` or `/`
        raise ConfigError(f"{path}: this is a folder that is there: name a file, or a new folder, in it")
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError, FileExistsError) as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): name a place that this user can write") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be written ({error.strerror})") from error
