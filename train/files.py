"""A path and bytes in, a file that is whole or not there out: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
from pathlib import Path

from framecap.errors import StoreUnavailable


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Put the file in place of what was there. Raises StoreUnavailable (disk full, away); the old one is then unharmed."""
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
