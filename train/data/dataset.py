"""A data folder (`train.data.prepare`, or the seed's own) in, word numbers, references and images of its splits out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from framecap.captioning.vocabulary import END, PAD, START, Vocabulary
from framecap.errors import BundleError, ConfigError
from train.data.image_file import ImageFile
from train.files import parse_json

SPLITS = ("TRAIN", "VAL", "TEST")
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One split's captions.

    `captions` (photos, n, longest) int64, padded; `lengths` (photos, n), <start> and <end> included; `references`
    holds every caption of each photo as words. Not `raw`: there were only encoded captions (the seed's folders), whose rare
    words are <unk>; they choose between epochs, but scores against them are not comparable. `rows`: the photos' numbers in
    the images' file; None: all, in order. `origins`: each photo's data set and clip, where the folder has several sets or
    clips. `learned`: the captions that are learned from, as words, where they are not all references.
    """

    images: Path
    captions: Numbers
    lengths: Numbers
    references: list[list[list[str]]]
    raw: bool = True
    rows: Numbers | None = None
    origins: list[tuple[str, str | None]] | None = None
    learned: list[list[list[str]]] | None = None

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def set_names(self) -> list[str]:
        """The names of its data sets, in order; none where the folder names none."""
        return list(dict.fromkeys(name for name, _ in self.origins or ()))

    @property
    def objectives(self) -> list[list[list[str]]]:
        """The captions that are learned from, as words."""
        return self.references if self.learned is None else self.learned

    def rows_of(self, name: str) -> Numbers:
        """The places of a data set's photos in this split."""
        return np.array([index for index, origin in enumerate(self.origins or ()) if origin[0] == name], np.int64)

    def part(self, photos: slice | Numbers) -> Split:
        """Only these photos (the images' file stays the whole one)."""
        locations = np.arange(len(self))[photos]

        def chosen(values: list[Any] | None) -> list[Any] | None:
            return None if values is None else [values[index] for index in locations]

        return replace(
            self,
            captions=self.captions[photos],
            lengths=self.lengths[photos],
            references=[self.references[index] for index in locations],
            rows=self.in_file(locations),
            origins=chosen(self.origins),
            learned=chosen(self.learned),
        )

    def by_set(self) -> dict[str, Split]:
        """The photos of each data set, by its name; empty where there is only one."""
        names = self.set_names
        return {name: self.part(self.rows_of(name)) for name in names} if len(names) > 1 else {}

    def in_file(self, photos: Numbers) -> Numbers:
        """The numbers of these photos in the images' file."""
        return photos if self.rows is None else self.rows[photos]

    def images_of(self, photos: Numbers) -> npt.NDArray[np.uint8]:
        """The images of these photos, (n, size, size, 3) RGB. No open file outlives a fork."""
        return np.stack([self.file[int(row)] for row in self.in_file(photos)])

    def read_images(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The images start to stop (or to the last one)."""
        return self.images_of(np.arange(start, min(stop, len(self))))

    @cached_property
    def file(self) -> ImageFile:
        """The images' file, whole, opened where it is read."""
        return ImageFile(self.images)


class DataFolder:
    """A data folder, by the names its files have. Raises ConfigError naming what is missing and how to make it."""

    def __init__(self, path: Path) -> None:
        maps = sorted(path.glob("WORDMAP_*.json"))
        if not maps:
            raise ConfigError(f"{path}: {_what_is_there(path)}")
        if len(maps) > 1:
            names = ", ".join(file.name for file in maps)
            raise ConfigError(f"{path}: {len(maps)} data sets ({names}): move all but one to a folder of its own")
        self.path = path
        self.base = maps[0].stem.removeprefix("WORDMAP_")
        self._words: Vocabulary | None = None

    def with_words(self, vocabulary: Vocabulary) -> DataFolder:
        """The same folder, its captions in the numbers of another vocabulary that has all its words.

        Words that are <unk> in the folder, being rare there, and are in the other vocabulary become themselves.
        """
        other = DataFolder(self.path)
        other._words = vocabulary
        return other

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that the captions' numbers are of."""
        return self._words or self.word_map

    @cached_property
    def word_map(self) -> Vocabulary:
        """The folder's word map."""
        path = self._file("WORDMAP", "json")
        try:
            return Vocabulary.from_json(path.read_bytes())
        except BundleError as error:
            raise ConfigError(f"{path}: {error}") from None

    def split(self, name: str) -> Split:
        """The split TRAIN, VAL or TEST."""
        images = self._images(name)
        file = ImageFile(images)
        shape = (file.shape.photos, file.shape.captions_per_image)
        numbers, lengths = self._numbers(f"{name}_CAPTIONS", 2), self._numbers(f"{name}_CAPLENS", 1)
        if not len(numbers) == len(lengths) == shape[0] * shape[1]:
            raise ConfigError(
                f"{images}: {shape[0]} photos with {shape[1]} captions each, but {len(numbers)} captions and "
                f"{len(lengths)} lengths stand beside it: the files are not of one run of prepare"
            )
        self._fit(name, numbers, lengths)
        references, learned = self._references(name, shape[0]), self._references(name, shape[0], "LEARNED")
        if self._words is not None and self._words != self.word_map:
            numbers = self._renumbered(numbers, lengths, learned or references)
        captions = numbers[:, : lengths.max(initial=0)].reshape(*shape, -1)
        raw = references is not None
        if references is None:
            references = _reported(captions, lengths.reshape(shape), self.vocabulary)
        return Split(
            images,
            captions,
            lengths.reshape(shape),
            references,
            raw,
            origins=self._origins(name, shape[0]),
            learned=learned,
        )

    def _images(self, name: str) -> Path:
        path = self.path / f"{name}_IMAGES_{self.base}.hdf5"
        if not path.is_file():
            there = [split.lower() for split in SPLITS if (self.path / f"{split}_IMAGES_{self.base}.hdf5").is_file()]
            raise ConfigError(
                f"{path}: missing: the data set has no split {name.lower()!r}, only {', '.join(there) or 'none at all'}"
            )
        return path

    def _fit(self, name: str, numbers: Numbers, lengths: Numbers) -> None:
        """Raises ConfigError when the captions are not of this word map."""
        words = self.word_map
        where = f"{self.path}: {name}_CAPTIONS and WORDMAP of {self.base}"
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(words)):
            raise ConfigError(
                f"{where}: the captions hold word {numbers.max()}, the word map has {len(words)} words: it is of another "
                "data set or of another run of prepare"
            )
        if lengths.size and not (lengths.min() >= 2 and lengths.max() <= numbers.shape[1]):
            raise ConfigError(f"{where}: {name}_CAPLENS has lengths that the captions do not have: run prepare again")
        rows = np.arange(len(lengths))
        padding = numbers[np.arange(numbers.shape[1]) >= lengths[:, None]]
        starts, ends = numbers[rows, 0], numbers[rows, lengths - 1]
        for token, found in ((START, starts), (END, ends), (PAD, padding)):
            if (found != words.number(token)).any():
                raise ConfigError(
                    f"{where}: {token} is {words.number(token)} in the word map, but not in the captions: the word map is "
                    "of another data set or of another run of prepare"
                )

    def _renumbered(self, numbers: Numbers, lengths: Numbers, objectives: list[list[list[str]]] | None) -> Numbers:
        """The captions in the numbers of the other vocabulary, spelled out from the words that they were encoded from."""
        words, others = self.word_map, self.vocabulary
        found = np.array([others.number(word) for word in words.words])[numbers]
        per_photo = len(numbers) // max(1, len(objectives or ()))
        for photo, captions in enumerate(objectives or ()):
            spelled = {tuple(words.encode(caption)): others.encode(caption) for caption in captions}
            for row in range(photo * per_photo, (photo + 1) * per_photo):
                caption = spelled.get(tuple(numbers[row, : lengths[row]].tolist()))
                if caption is not None:
                    found[row, : lengths[row]] = caption
        return found

    def _origins(self, name: str, photos: int) -> list[tuple[str, str | None]] | None:
        """Each photo's data set and clip, where prepare wrote them."""
        if not (self.path / f"{name}_SETS_{self.base}.json").is_file():
            return None
        try:
            found = TypeAdapter(list[tuple[str, str | None]]).validate_python(self._json(f"{name}_SETS"))
        except ValidationError:
            found = []
        if len(found) != photos:
            raise ConfigError(
                f"{self._file(f'{name}_SETS', 'json')}: not a data set and a clip for each of the {photos} photos: run "
                "prepare again"
            )
        return found

    def _references(self, name: str, photos: int, kind: str = "REFERENCES") -> list[list[list[str]]] | None:
        """The references (or the captions to learn from), where prepare wrote them; a seed's folder has none."""
        if not (self.path / f"{name}_{kind}_{self.base}.json").is_file():
            return None
        found = self._json(f"{name}_{kind}")
        if isinstance(found, list) and len(found) != photos:
            raise ConfigError(
                f"{self.path}: {name}_{kind}_{self.base}.json has {len(found)} photos, {name}_IMAGES {photos}: the "
                "files are not of one run of prepare"
            )
        if not isinstance(found, list) or not all(map(_are_captions, found)):
            raise ConfigError(
                f"{self._file(f'{name}_{kind}', 'json')}: not captions, which are lists of words, for each photo: run "
                "prepare again"
            )
        return found

    def _numbers(self, kind: str, dimensions: int) -> Numbers:
        try:
            numbers = np.array(self._json(kind), np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise ConfigError(
                f"{self._file(kind, 'json')}: not lists of word numbers ({error}): run prepare again"
            ) from None
        if numbers.ndim != dimensions:
            raise ConfigError(f"{self._file(kind, 'json')}: not {dimensions} levels of lists of numbers: run prepare again")
        return numbers

    def _json(self, kind: str) -> Any:
        path = self._file(kind, "json")
        try:
            return parse_json(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON ({error}): run prepare again") from None

    def _file(self, kind: str, suffix: str) -> Path:
        path = self.path / f"{kind}_{self.base}.{suffix}"
        if not path.is_file():
            raise ConfigError(f"{path}: missing: copy it from where the data folder was made, or run prepare again")
        return path


def _are_captions(captions: Any) -> bool:
    """Whether it is what a photo has: captions of words, one at least."""
    return (
        isinstance(captions, list)
        and any(captions)
        and all(isinstance(words, list) for words in captions)
        and all(isinstance(word, str) for words in captions for word in words)
    )


def _what_is_there(path: Path) -> str:
    """Why there is no data set in this folder, and what to do."""
    if not path.is_dir():
        return f"no such folder, so no WORDMAP_*.json: make the data folder with `python -m train prepare --out {path}`"
    if any(path.glob(".*.journal")):
        return "no WORDMAP_*.json yet: prepare was stopped here; run the same command again, it goes on where it stopped"
    below = [file.parent for file in sorted(path.glob("*/WORDMAP_*.json"))]
    hint = f" (perhaps you mean {below[0]})" if below else ""
    return f"no WORDMAP_*.json: make the data folder with `python -m train prepare --out {path}`{hint}"


def _reported(captions: Numbers, lengths: Numbers, vocabulary: Vocabulary) -> list[list[list[str]]]:
    """Each photo's different captions as words, from their numbers."""
    return [
        [list(words) for words in dict.fromkeys(_words(row, length, vocabulary) for row, length in zip(*photo, strict=True))]
        for photo in zip(captions, lengths, strict=True)
    ]


def _words(numbers: Numbers, length: int, vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(vocabulary.decode(numbers[1 : length - 1]))
