"""What every export is: a writer that takes sidecars in time order and leaves a file, or a folder, when it has them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from framecap.errors import ConfigError
from framecap.sidecars.sidecar import Sidecar
from framecap.timeline.export.atomic_output import finished_text


class Writer(ABC):
    """One format. `written` counts its records; `skipped` captions whose frame is gone, or which fit in nowhere."""

    to_standard_output: ClassVar[bool] = False  # when no file is named
    one_camera: ClassVar[bool] = False  # it holds one timeline
    has_images: ClassVar[bool] = False  # it reads the frames, and copies them

    def __init__(self) -> None:
        self.written = 0
        self.skipped = 0

    @abstractmethod
    def write(self, sidecars: Iterable[Sidecar], to: Path | None) -> None:
        """Write them. Nothing stands under the final name before it is finished.

        Raises ConfigError, StoreUnavailable, and MissingError where a package is wanted.
        """


class TextWriter(Writer):
    """A format that is a text, written piece by piece."""

    to_standard_output = True

    def write(self, sidecars: Iterable[Sidecar], to: Path | None) -> None:
        with finished_text(to) as stream:
            for piece in self.pieces(sidecars):
                stream.write(piece)

    @abstractmethod
    def pieces(self, sidecars: Iterable[Sidecar]) -> Iterator[str]:
        """The text."""


def named(to: Path | None, form: str) -> Path:
    """The place that the user named. Raises ConfigError when none was."""
    if to is None:
        raise ConfigError(f"--to {form}: this is nothing for a terminal or a pipe: name its place with -o")
    return to


def one_line(text: str) -> str:
    """Captions of other programs' models may hold anything: no line ends, no control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
