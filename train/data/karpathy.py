"""Karpathy's caption JSON in (dataset_coco.json, dataset_flickr8k.json, ...), photos with their split and captions out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framecap.errors import ConfigError
from train.files import parse_json

MAX_JSON_BYTES = 2 << 30
SPLITS = {"train": "TRAIN", "restval": "TRAIN", "val": "VAL", "test": "TEST"}


@dataclass(frozen=True, slots=True)
class Photo:
    """One captioned photo: where it lies, its number in its data set, its split (TRAIN, VAL or TEST), its captions.

    `dataset`: the data set's name, where it has one. `clip`: the video that it is a frame of. `clean`: false where its data
    set says that its captions may not fit. `learned`: those of the captions that are learned from; None: all.
    """

    path: Path
    identity: int
    split: str
    captions: tuple[tuple[str, ...], ...]
    dataset: str = ""
    clip: str | None = None
    clean: bool = True
    learned: tuple[tuple[str, ...], ...] | None = None

    @property
    def objectives(self) -> tuple[tuple[str, ...], ...]:
        """The captions that are learned from."""
        return self.captions if self.learned is None else self.learned


def read_karpathy(dataset: Path, images: Path) -> list[Photo]:
    """The photos of a Karpathy JSON below the folder `images`. Raises ConfigError, naming what is wrong."""
    try:
        if dataset.stat().st_size > MAX_JSON_BYTES:
            raise ConfigError(f"{dataset}: larger than {MAX_JSON_BYTES >> 30} GB: not Karpathy's JSON")
        document = parse_json(dataset.read_bytes())
        name = _name_of(document.get("dataset"), dataset)
        return [_photo(number, entry, images, name) for number, entry in enumerate(document["images"])]
    except OSError as error:
        raise ConfigError(f"{dataset}: cannot be read ({error.strerror}): name Karpathy's JSON with --karpathy") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{dataset}: not Karpathy's layout (images[].filename, split, sentences[].tokens): {error!r}"
        ) from None


def _name_of(output: Any, file: Path) -> str:
    """The data set's name: what the JSON says, else that of the file (`dataset_x.json`: x)."""
    name = output if isinstance(output, str) else file.stem.removeprefix("dataset_")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-") or "unnamed"


def _photo(number: int, entry: dict[str, Any], images: Path, dataset: str) -> Photo:
    folder, name, split = entry.get("filepath", ""), entry["filename"], entry["split"]
    if not isinstance(folder, str) or not isinstance(name, str) or not _stays_below(Path(folder, name)):
        raise ValueError(f"file name {name!r} leaves the folder of images")
    if not _may_be_a_name(f"{folder}{name}"):
        raise ValueError(f"file name {name!a} holds characters that no file name can have")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    sentences: Sequence[dict[str, list[str]]] = entry["sentences"]
    captions = tuple(filter(None, (_words(sentence["tokens"], name) for sentence in sentences)))
    if not captions:
        raise ValueError(f"{name}: it has no caption with words")
    identity = entry.get("cocoid", entry.get("imgid", number))
    if type(identity) is not int:
        raise ValueError(f"{name}: its cocoid or imgid {identity!r} is no whole number")
    clip = None if entry.get("video") is None else str(entry["video"])
    clean = entry.get("clean", True) is not False
    return Photo(images / folder / name, identity, SPLITS[split], captions, dataset, clip, clean)


def _words(tokens: Any, name: str) -> tuple[str, ...]:
    if not isinstance(tokens, list) or not all(isinstance(word, str) for word in tokens):
        raise ValueError(f"{name}: tokens must be a list of words")
    return tuple(tokens)


def _may_be_a_name(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _stays_below(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts
