"""Photos in, a split's HDF5 file of images out; a killed run goes on where it stopped, and no final name is ever torn.

While it is made, the file is `.<name>.part`: room for the HDF5 head, then the images, appended as plain bytes. Beside it,
`.<name>.journal` says in one line for each few hundred photos how long their images are and which were skipped, written
only when the images themselves are on the disk. The HDF5 head is written last. No moment leaves a state that cannot be
gone on from: what lies behind the journal's last whole line is cut off and made again.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from framecap.errors import ConfigError
from train.data.image_file import ImageShape, around

PHOTOS_A_LINE = 500  # of the journal; as many are made again at most after a kill

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class WriterProgress:
    """What the journal says: bytes of each image that is safe, and what was wrong with each photo skipped."""

    lengths: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def photos(self) -> int:
        """How many photos have been looked at."""
        return len(self.lengths) + len(self.skipped)

    def add(self, lengths: Iterable[int], skipped: dict[int, str]) -> None:
        self.lengths.extend(lengths)
        self.skipped.update(skipped)


class ImageWriter:
    """Appends images to the unfinished file; `finish` gives it its head and its name. `plan` names what is to be made.

    With another plan than the journal's, everything starts anew. `shape.photos` is what there is at most.
    """

    def __init__(self, path: Path, shape: ImageShape, plan: str) -> None:
        self.path, self.shape = path, shape
        self.part, self.journal = (path.with_name(f".{path.name}.{kind}") for kind in ("part", "journal"))
        self._head = len(around(replace(shape, photos=1), [1])[0])
        self.progress = self._pick_up(plan)
        self.finished = self._is_finished(self.progress)
        self._lengths: list[int] = []
        self._skipped: dict[int, str] = {}
        self._saver = ThreadPoolExecutor(1)
        self._saving: Future[None] | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = self.part.open("r+b" if self.part.exists() else "w+b")
        self._file.truncate(self._head + sum(self.progress.lengths))
        self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._saver.shutdown()
        if self._file is not None:
            self._file.close()

    def add(self, image: bytes) -> None:
        """The next photo's image."""
        assert self._file is not None
        self._file.write(image)
        self._lengths.append(len(image))
        self._save_now_and_then()

    def skip(self, problem: str) -> None:
        """The next photo has none."""
        self._skipped[self.progress.photos + len(self._lengths) + len(self._skipped)] = problem
        self._save_now_and_then()

    def finish(self) -> None:
        """Write the head (and what follows the images), and give the file its name."""
        assert self._file is not None
        self._save()
        self._saved()
        ends = list(accumulate(self.progress.lengths))
        if not ends:
            raise ConfigError(f"{self.path}: none of its photos can be used; the first: {self.progress.skipped[0]}")
        head, tail = around(replace(self.shape, photos=len(ends)), ends)
        if len(head) != self._head:
            raise AssertionError(f"{self.path}: HDF5's head has {len(head)} bytes, room was left for {self._head}")
        self._file.truncate(self._head + ends[-1])
        self._file.seek(self._head + ends[-1])
        self._file.write(tail)
        self._file.seek(0)
        self._file.write(head)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.part.replace(self.path)

    def _save_now_and_then(self) -> None:
        if len(self._lengths) + len(self._skipped) >= PHOTOS_A_LINE:
            self._save()

    def _save(self) -> None:
        """Let what was added reach the disk, then the journal, while the next photos are decoded."""
        assert self._file is not None
        self._saved()
        self._file.flush()
        self.progress.add(self._lengths, self._skipped)
        line = json.dumps({"lengths": self._lengths, "left_out": self._skipped})
        self._saving = self._saver.submit(self._sync, self._file.fileno(), line)
        self._lengths, self._skipped = [], {}

    def _saved(self) -> None:
        """Wait for the last save. Raises what went wrong with it."""
        if self._saving is not None:
            self._saving.result()

    def _sync(self, descriptor: int, line: str) -> None:
        os.fdatasync(descriptor)
        append_line(self.journal, line)

    def _pick_up(self, plan: str) -> WriterProgress:
        lines = read_lines(self.journal)
        progress = WriterProgress()
        for line in lines[1:]:
            progress.add(line["lengths"], {int(photo): problem for photo, problem in line["left_out"].items()})
        if lines and lines[0] == {"plan": plan} and (self._is_finished(progress) or self._has(progress)):
            return progress
        self.part.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
        append_line(self.journal, json.dumps({"plan": plan}))
        return WriterProgress()

    def _is_finished(self, progress: WriterProgress) -> bool:
        return progress.photos == self.shape.photos and self.path.exists() and not self.part.exists()

    def _has(self, progress: WriterProgress) -> bool:
        """Whether the unfinished file holds what the journal says."""
        return self.part.exists() and self.part.stat().st_size >= self._head + sum(progress.lengths)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """The results in the items' order, at most `ahead` of them computed before they are asked for."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def append_line(path: Path, line: str) -> None:
    """One line, on the disk when it returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[Any]:
    """The whole lines of a file of JSON lines, nothing when there is none; a last line without its end is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]
