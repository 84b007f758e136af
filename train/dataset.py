"""A data folder (`train.prepare`, or the seed's own) in, word numbers, references and pictures of its splits out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from framecap.captioning.vocabulary import Vocabulary
from framecap.errors import ConfigError


@dataclass(frozen=True)
class Split:
    """One split's captions.

    `captions` (photos, n, longest) int64, padded; `lengths` (photos, n), <start> and <end> included; `references`
    holds every caption of each photo as words.
    """

    images: Path
    captions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    references: list[list[list[str]]]

    def __len__(self) -> int:
        return len(self.captions)

    def part(self, photos: slice) -> Split:
        """Only these photos' captions (the pictures' file stays the whole one)."""
        return Split(self.images, self.captions[photos], self.lengths[photos], self.references[photos])

    def pictures(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The pictures start to stop, (n, size, size, 3) RGB. Opens the file at each call: no handle outlives a fork."""
        with h5py.File(self.images, "r") as file:
            return np.ascontiguousarray(file["images"][start:stop].transpose(0, 2, 3, 1))


class DataFolder:
    """A data folder, by the names its files have. Raises ConfigError naming what is missing and how to make it."""

    def __init__(self, path: Path) -> None:
        maps = sorted(path.glob("WORDMAP_*.json"))
        if len(maps) != 1:
            found = "no WORDMAP_*.json" if not maps else f"{len(maps)} WORDMAP_*.json"
            raise ConfigError(f"{path}: {found}: make the data folder with `python -m train prepare --out {path}`")
        self.path = path
        self.base = maps[0].stem.removeprefix("WORDMAP_")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The folder's word map."""
        return Vocabulary.from_json(self._file("WORDMAP", "json").read_bytes())

    def split(self, name: str) -> Split:
        """The split TRAIN, VAL or TEST."""
        images = self._file(f"{name}_IMAGES", "hdf5")
        count, captions_per_image = _look_at(images)
        captions = self._json(f"{name}_CAPTIONS")
        lengths = self._json(f"{name}_CAPLENS")
        if not len(captions) == len(lengths) == count * captions_per_image:
            raise ConfigError(
                f"{images}: {count} photos with {captions_per_image} captions each, but {len(captions)} captions and "
                f"{len(lengths)} lengths stand beside it: the files are not of one run of prepare"
            )
        shape = (count, captions_per_image)
        numbers = np.array(captions, np.int64)[:, : max(lengths, default=0)]
        if numbers.size and numbers.max() >= len(self.vocabulary):
            raise ConfigError(
                f"{self.path}: the captions hold word {numbers.max()}, the word map has {len(self.vocabulary)}"
            )
        return Split(images, numbers.reshape(*shape, -1), np.array(lengths, np.int64).reshape(shape), self._references(name))

    def _references(self, name: str) -> list[list[list[str]]]:
        """The references, where prepare wrote them; a seed's folder has none, and scoring says so."""
        path = self.path / f"{name}_REFERENCES_{self.base}.json"
        return self._json(f"{name}_REFERENCES") if path.is_file() else []

    def _json(self, kind: str) -> Any:
        path = self._file(kind, "json")
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON ({error}): run prepare again") from None

    def _file(self, kind: str, suffix: str) -> Path:
        path = self.path / f"{kind}_{self.base}.{suffix}"
        if not path.is_file():
            raise ConfigError(f"{path}: missing: this split or file was not made by `python -m train prepare`")
        return path


def _look_at(images: Path) -> tuple[int, int]:
    """Photos, and captions for each. Raises ConfigError for a truncated or foreign file."""
    try:
        with h5py.File(images, "r") as file:
            return int(file["images"].shape[0]), int(file.attrs["captions_per_image"])
    except (OSError, KeyError) as error:
        raise ConfigError(f"{images}: not a whole HDF5 file of pictures ({error}): run prepare again") from None
