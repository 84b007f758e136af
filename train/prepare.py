"""Photos and captions in, the seed's data folder out: for each split HDF5 pictures and JSON captions, and a word map.

Files, as in a-PyTorch-Tutorial-to-Image-Captioning (`<base>` is `<dataset>_<n>_cap_per_img_<m>_min_word_freq`):

    <SPLIT>_IMAGES_<base>.hdf5     dataset `images` (photos, 3, size, size) uint8, attribute `captions_per_image`
    <SPLIT>_CAPTIONS_<base>.json   n lists of word numbers a photo, padded; list i belongs to photo i // n
    <SPLIT>_CAPLENS_<base>.json    their lengths, <start> and <end> included
    <SPLIT>_REFERENCES_<base>.json all captions of each photo as words, for scoring (not in the seed)
    WORDMAP_<base>.json            word → number

By choice different from the seed: pictures are RGB, and only the train split's words make the vocabulary.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framecap.captioning.preprocess import Preprocessing, decode
from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from framecap.errors import ConfigError, DecodeError
from train.karpathy import Photo, read_karpathy

MAX_WORDS = 100  # longer captions are left out, as in the seed
MAX_PIXELS = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to prepare: the names and numbers that stand in the file names, and the side of the pictures in pixels."""

    dataset: str
    size: int = 256
    captions_per_image: int = 5
    minimum_word_frequency: int = 5
    seed: int = 123

    @property
    def base(self) -> str:
        return f"{self.dataset}_{self.captions_per_image}_cap_per_img_{self.minimum_word_frequency}_min_word_freq"


def prepare(recipe: Recipe, karpathy: Path, images: Path, out: Path) -> list[str]:
    """Make the data folder `out`; returns what was wrong with single photos (missing, broken), one line each."""
    photos = [photo for photo in read_karpathy(karpathy, images) if min(map(len, photo.captions)) <= MAX_WORDS]
    vocabulary = count_words((photo for photo in photos if photo.split == "TRAIN"), recipe.minimum_word_frequency)
    out.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    for split in ("TRAIN", "VAL", "TEST"):
        of_split = [photo for photo in photos if photo.split == split]
        if of_split:
            kept = _write_images(out / f"{split}_IMAGES_{recipe.base}.hdf5", of_split, recipe, problems)
            _write_captions(out, split, kept, recipe, vocabulary)
    with whole_file(out / f"WORDMAP_{recipe.base}.json") as path:
        path.write_text(vocabulary.to_json(), encoding="utf-8")
    return problems


def count_words(photos: Iterable[Photo], minimum: int) -> Vocabulary:
    """The vocabulary of the words that stand in these photos' captions `minimum` times or more, `<pad>` first."""
    counts = Counter(word for photo in photos for caption in photo.captions for word in caption)
    if not counts:
        raise ConfigError("the train split is empty: no vocabulary can be made")
    words = [word for word, count in counts.items() if count >= minimum]
    return Vocabulary((PAD, *words, UNKNOWN, START, END))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which gets its final name only when everything went well."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_images(path: Path, photos: list[Photo], recipe: Recipe, problems: list[str]) -> list[Photo]:
    kept: list[Photo] = []
    shape = (len(photos), 3, recipe.size, recipe.size)
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        file.attrs["captions_per_image"] = recipe.captions_per_image
        images = file.create_dataset("images", shape, np.uint8, maxshape=(None, *shape[1:]), chunks=(1, *shape[1:]))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loaded = pool.map(lambda photo: _load(photo, recipe.size), photos)
            for photo, pixels in zip(photos, tqdm(loaded, path.name.split("_")[0], len(photos), unit="photo"), strict=True):
                if isinstance(pixels, str):
                    problems.append(pixels)
                else:
                    images[len(kept)] = pixels.transpose(2, 0, 1)
                    kept.append(photo)
        images.resize(len(kept), axis=0)
    return kept


def _load(photo: Photo, size: int) -> npt.NDArray[np.uint8] | str:
    """The picture as the worker would see it, or what is wrong with it."""
    try:
        return decode(photo.path.read_bytes(), Preprocessing(size), MAX_PIXELS).pixels
    except OSError as error:
        return f"{photo.path}: {error.strerror}"
    except DecodeError as error:
        return f"{photo.path}: {error}"


def _write_captions(out: Path, split: str, photos: list[Photo], recipe: Recipe, vocabulary: Vocabulary) -> None:
    generator = random.Random(f"{recipe.seed}-{split}")  # noqa: S311 (which captions to keep is no secret)
    captions: list[list[int]] = []
    lengths: list[int] = []
    for photo in photos:
        short = [caption for caption in photo.captions if len(caption) <= MAX_WORDS]
        extra = max(0, recipe.captions_per_image - len(short))
        for caption in generator.sample(short, min(len(short), recipe.captions_per_image)) + generator.choices(
            short, k=extra
        ):
            numbers = vocabulary.encode(caption)
            lengths.append(len(numbers))
            captions.append(numbers + [vocabulary.number(PAD)] * (MAX_WORDS + 2 - len(numbers)))
    references = [[list(caption) for caption in photo.captions] for photo in photos]
    for kind, content in (("CAPTIONS", captions), ("CAPLENS", lengths), ("REFERENCES", references)):
        with whole_file(out / f"{split}_{kind}_{recipe.base}.json") as path:
            path.write_text(json.dumps(content), encoding="utf-8")
