"""A folder and a number in; a store with so many finished frames, in hour folders as capture makes them, out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from framecap.bench.images import make_images
from framecap.frames import FrameName, make_key, sidecar_key

START = datetime(2026, 1, 1, tzinfo=UTC)
_LINKS = 50_000  # to one file; a directory entry costs far less than a file, and ext4 allows 65,000
_CHUNK = 3600  # frames; one a second makes an hour's folder


def fill(folder: Path, frames: int, camera: str = "camera") -> None:
    """Frames of one camera, one a second, each with a sidecar of a size above zero, none of them new.

    They are hard links to few files: listings and their cost are a real store's, the bytes are not.
    """
    work = folder.with_name(f"{folder.name}-files")
    folder.mkdir(exist_ok=True)
    (image,) = make_images(work, 1)
    kept = (image.read_bytes(), b'{"schema_version": 1}\n')
    files: list[Path] = []
    for number in range(frames):
        if number % _LINKS == 0:
            files = [work / f"{number}{suffix}" for suffix in (".jpg", ".json")]
            for file, data in zip(files, kept, strict=True):
                file.write_bytes(data)
                os.utime(file, (START.timestamp(), START.timestamp()))
        key = make_key(FrameName(camera, START + timedelta(seconds=number), number))
        if number % _CHUNK == 0:
            (folder / key).parent.mkdir(parents=True)
        os.link(files[0], folder / key)
        os.link(files[1], folder / sidecar_key(key))


def add_new(folder: Path, after: int, image_files: Sequence[Path], camera: str = "camera") -> list[Path]:
    """Frames without a sidecar that come after the first `after` ones; the paths of the sidecars that they are to get."""
    sidecars = []
    for number, image in enumerate(image_files, after):
        key = make_key(FrameName(camera, START + timedelta(seconds=number), number))
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        os.link(image, folder / key)
        sidecars.append(folder / sidecar_key(key))
    return sidecars
