"""Captions of a split in, a file in the COCO caption challenge's results format out, for its evaluation server.

The format is `[{"image_id": 391895, "caption": "a man riding a motorcycle"}, ...]`. The ids are those of Karpathy's JSON
(`cocoid`, else `imgid`), which `python -m train prepare` keeps beside the captions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from framecap.captioning.caption import Caption
from framecap.errors import ConfigError
from train.data.dataset import Split
from train.files import parse_json, write_durably


def write_results(path: Path, split: Split, captions: Sequence[Caption]) -> None:
    """Write the results file. Raises ConfigError where the data folder has no ids."""
    numbers = image_ids(split)
    results = [
        {"image_id": number, "caption": " ".join(caption.words)} for number, caption in zip(numbers, captions, strict=True)
    ]
    write_durably(path, json.dumps(results).encode())


def need_folder_of(path: Path) -> None:
    """Raises ConfigError when a file cannot be made at `path`: to be asked before hours of work, not after them."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}: make it, or name another file")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder: name a file in it")


def image_ids(split: Split) -> list[int]:
    """The photos' ids in their data set. Raises ConfigError where there are none."""
    path = split.images.with_name(split.images.name.replace("_IMAGES_", "_IDS_", 1)).with_suffix(".json")
    try:
        numbers = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: missing: this data folder has no image ids; make it again with `python -m train prepare`"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}): run prepare again") from None
    if not isinstance(numbers, list) or len(numbers) != len(split) or any(type(number) is not int for number in numbers):
        raise ConfigError(f"{path}: not one whole number for each of the {len(split)} photos: run prepare again")
    return numbers
