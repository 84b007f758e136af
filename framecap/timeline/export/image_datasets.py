"""Sidecars and their frames in; images with their captions, as training programs read them, out.

Each frame that has a caption (its own, not the steady one) and is still in the store; the images are copied as they are.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from framecap.errors import ConfigError, FrameGone, FrameUnreadable, KeyRefused, OversizedFrame
from framecap.frames import parse_key
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.timeline.export.atomic_output import finished_file, finished_folder
from framecap.timeline.export.lines import json_line
from framecap.timeline.export.writer import Writer, named, one_line

SAMPLES_OF_A_SHARD = 10_000
_MAX_BYTES = 100_000_000  # of an image; larger ones are skipped
_LONGEST_STEM = 200  # bytes of a name


class _Images(Writer):
    has_images = True

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def pairs(self, sidecars: Iterable[Sidecar]) -> Iterator[tuple[Sidecar, str, bytes]]:
        """Each captioned sidecar, its caption in one line, and its frame's bytes."""
        for sidecar in sidecars:
            if sidecar.caption is None:
                continue
            try:
                image = self._store.read(sidecar.frame.key, _MAX_BYTES)
            except (FrameGone, FrameUnreadable, KeyRefused, OversizedFrame):
                self.skipped += 1
                continue
            yield sidecar, one_line(sidecar.caption), image
            self.written += 1


class WebDataset(_Images):
    """Tar archives of samples: an image, its caption (.txt) and its sidecar (.json) under one running number.

    A name with %d in it (frames-%06d.tar) makes an archive of each ten thousand samples; another makes one archive.
    """

    def write(self, sidecars: Iterable[Sidecar], to: Path | None) -> None:
        path = named(to, "webdataset")
        pattern = path.name if "%" in path.name else None
        if pattern is not None:
            _check(pattern)
        with ExitStack() as finished:
            archive = None
            for number, (sidecar, caption, image) in enumerate(self.pairs(sidecars)):
                shard, within = divmod(number, SAMPLES_OF_A_SHARD)
                if archive is None or (pattern is not None and within == 0):
                    finished.close()
                    shard_path = path if pattern is None else path.with_name(pattern % shard)
                    archive = finished.enter_context(tarfile.open(finished.enter_context(finished_file(shard_path)), "w"))
                _add_sample(archive, f"{number:09}", sidecar, caption, image)
            if archive is None:
                raise ConfigError("--to webdataset: there is no caption whose frame is there: no archive is written")


def _check(pattern: str) -> None:
    try:
        different = pattern % 1 != pattern % 2
    except (TypeError, ValueError):
        different = False
    if not different:
        raise ConfigError(f"-o {pattern!r}: a number's place is written %06d: frames-%06d.tar")


def _add_sample(archive: tarfile.TarFile, name: str, sidecar: Sidecar, caption: str, image: bytes) -> None:
    parts = {_suffix(sidecar.frame.key): image, ".txt": caption.encode(), ".json": json_line(sidecar).encode()}
    for suffix, data in parts.items():
        member = tarfile.TarInfo(name + suffix)
        member.size = len(data)
        member.mtime = int(max(0.0, sidecar.frame.captured_at.timestamp()))
        archive.addfile(member, io.BytesIO(data))


class _Folder(_Images):
    """A folder with all images in it directly: programs that train do not look into folders within."""

    form: ClassVar[str]

    def write(self, sidecars: Iterable[Sidecar], to: Path | None) -> None:
        with finished_folder(named(to, self.form)) as folder:
            self.describe(folder, self._copied(folder, sidecars))

    def _copied(self, folder: Path, sidecars: Iterable[Sidecar]) -> Iterator[tuple[Path, Sidecar, str]]:
        for sidecar, caption, image in self.pairs(sidecars):
            path = _free_path(folder, sidecar.frame.key)
            path.write_bytes(image)
            yield path, sidecar, caption

    @abstractmethod
    def describe(self, folder: Path, copied: Iterator[tuple[Path, Sidecar, str]]) -> None:
        """Say what is on each image after it was copied."""


class TextPairs(_Folder):
    """name.jpg and name.txt side by side: what kohya's scripts and others read."""

    form = "txt"

    def describe(self, folder: Path, copied: Iterator[tuple[Path, Sidecar, str]]) -> None:
        for path, _, caption in copied:
            path.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")


class HuggingFace(_Folder):
    """Images and a metadata.jsonl: what `datasets.load_dataset("imagefolder")` reads, the caption as `text`."""

    form = "huggingface"

    def describe(self, folder: Path, copied: Iterator[tuple[Path, Sidecar, str]]) -> None:
        with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for path, sidecar, caption in copied:
                frame = sidecar.frame
                line = {
                    "file_name": path.name,
                    "text": caption,
                    "key": frame.key,
                    "camera": frame.camera,
                    "captured_at": frame.captured_at.isoformat(),
                    "confidence": sidecar.confidence,
                    "uncertain": sidecar.uncertain,
                }
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def _free_path(folder: Path, key: str) -> Path:
    """A name that no image in the folder has, whatever its suffix: an own key's last part, or a whole foreign one."""
    name = key.rpartition("/")[2] if parse_key(key) else key.replace("/", "__")
    stem, point, suffix = name.rpartition(".")
    stem = stem.encode()[-_LONGEST_STEM:].decode(errors="ignore")
    for number in itertools.count(1):
        path = folder / f"{stem if number == 1 else f'{stem}-{number}'}{point}{suffix}"
        if not path.exists() and not path.with_suffix(".txt").exists():
            return path
    raise AssertionError("numbers do not end")


def _suffix(key: str) -> str:
    return "." + key.rpartition(".")[2].lower()
