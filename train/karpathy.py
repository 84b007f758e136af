"""Karpathy's caption JSON in (dataset_coco.json, dataset_flickr8k.json, ...), photos with their split and captions out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framecap.errors import ConfigError

SPLITS = {"train": "TRAIN", "restval": "TRAIN", "val": "VAL", "test": "TEST"}


@dataclass(frozen=True, slots=True)
class Photo:
    """One captioned photo: where it lies, its split (TRAIN, VAL or TEST) and its captions as lists of words."""

    path: Path
    split: str
    captions: tuple[tuple[str, ...], ...]


def read_karpathy(dataset: Path, images: Path) -> list[Photo]:
    """The photos of a Karpathy JSON below the folder `images`. Raises ConfigError, naming what is wrong."""
    try:
        document = json.loads(dataset.read_bytes())
        return [_photo(entry, images) for entry in document["images"]]
    except OSError as error:
        raise ConfigError(f"{dataset}: cannot be read ({error.strerror}): name Karpathy's JSON with --karpathy") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{dataset}: not Karpathy's layout (images[].filename, split, sentences[].tokens): {error!r}"
        ) from None


def _photo(entry: dict[str, object], images: Path) -> Photo:
    folder, name, split = entry.get("filepath", ""), entry["filename"], entry["split"]
    if not isinstance(folder, str) or not isinstance(name, str) or ".." in Path(folder, name).parts:
        raise ValueError(f"file name {name!r} leaves the folder of images")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    sentences: Sequence[dict[str, list[str]]] = entry["sentences"]  # type: ignore[assignment]
    captions = tuple(tuple(sentence["tokens"]) for sentence in sentences)
    if not captions or not all(isinstance(word, str) for words in captions for word in words):
        raise ValueError(f"{name}: captions must be lists of words, one at least")
    return Photo(images / folder / name, SPLITS[str(split)], captions)
