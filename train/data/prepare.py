"""Photos and captions in, the seed's data folder out: for each split HDF5 images and JSON captions, and a word map.

Files, as in a-PyTorch-Tutorial-to-Image-Captioning (`<base>` is `<dataset>_<n>_cap_per_img_<m>_min_word_freq`):

    <SPLIT>_IMAGES_<base>.hdf5     dataset `images` (photos, 3, size, size) uint8, attribute `captions_per_image`
    <SPLIT>_CAPTIONS_<base>.json   n lists of word numbers a photo, padded; list i belongs to photo i // n
    <SPLIT>_CAPLENS_<base>.json    their lengths, <start> and <end> included
    <SPLIT>_REFERENCES_<base>.json all captions of each photo as words, for scoring (not in the seed)
    <SPLIT>_LEARNED_<base>.json    those of them that are learned from, where clips' are filtered (not in the seed)
    <SPLIT>_SETS_<base>.json       each photo's data set and clip, where there are several or clips (not in the seed)
    <SPLIT>_IDS_<base>.json        the photos' numbers in their data set, for COCO's server (not in the seed)
    LEFT_OUT_<base>.txt            which photos are missing or broken, where there are any (not in the seed)
    WORDMAP_<base>.json            word → number; written last: a folder that has it is whole

By choice different from the seed: images are RGB, and only the train split's words make the vocabulary.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import h5py
from tqdm import tqdm

from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import ConfigError, DecodeError, OversizedFrame, StoreUnavailable
from train.data.clip_captions import ClipFilter, chosen
from train.data.image_file import MAX_SIDE, ImageShape, Store
from train.data.image_writer import ImageWriter, in_order
from train.data.karpathy import Photo, read_karpathy
from train.files import make_folder, write_durably

SPLITS = ("TRAIN", "VAL", "TEST")
MAX_WORDS = 100  # longer captions are skipped, as in the seed
MAX_CAPTIONS = 1000  # kept for a photo
MAX_PIXELS = 200_000_000
MAX_BYTES = 256 << 20  # of a photo's file
JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    85,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)  # seen: 1/12 of COCO-like images' pixels, 1/9 of Flickr8k's
JPEG_SHARE = 6  # the JPEGs of a data set are smaller than its pixels by this factor at least
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to prepare: the names and numbers that stand in the file names, and the side of the images in pixels."""

    dataset: str
    size: int = 256
    captions_per_image: int = 5
    minimum_word_frequency: int = 5
    vocabulary_splits: Literal["train", "all"] = "train"
    store: Store = "pixels"
    seed: int = 123

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", self.dataset):
            raise ConfigError(f"data set {self.dataset!r}: its name stands in file names: letters, digits, dots and hyphens")
        if not 16 <= self.size <= MAX_SIDE:
            raise ConfigError(f"size {self.size}: the side of the images must be 16 to {MAX_SIDE} pixels")
        if not 1 <= self.captions_per_image <= MAX_CAPTIONS:
            raise ConfigError(f"captions per image {self.captions_per_image}: must be 1 to {MAX_CAPTIONS}")
        if self.minimum_word_frequency < 1:
            raise ConfigError(f"minimum word frequency {self.minimum_word_frequency}: must be 1 or more")

    @property
    def base(self) -> str:
        return f"{self.dataset}_{self.captions_per_image}_cap_per_img_{self.minimum_word_frequency}_min_word_freq"


def prepare(recipe: Recipe, karpathy: Path, images: Path, out: Path) -> list[str]:
    """Make the data folder `out` from one of Karpathy's JSONs; see `prepare_photos`."""
    return prepare_photos(recipe, read_sets([(karpathy, images)], ClipFilter()), out)


def read_sets(sets: Sequence[tuple[Path, Path]], how: ClipFilter) -> list[Photo]:
    """The photos of several data sets (Karpathy's JSON, folder of images), one after the other, clips' captions filtered.

    Raises ConfigError where two of them have one name.
    """
    found: dict[str, list[Photo]] = {}
    for karpathy, images in sets:
        photos = read_karpathy(karpathy, images)
        name = photos[0].dataset if photos else karpathy.stem
        if name in found:
            raise ConfigError(f"{karpathy}: a second data set of the name {name!r}: change its `dataset`")
        found[name] = chosen(photos, how)
    return [photo for photos in found.values() for photo in photos]


def prepare_photos(recipe: Recipe, photos: Sequence[Photo], out: Path) -> list[str]:
    """Make the data folder `out`; returns what was wrong with single photos (missing, broken), one line each.

    The same call goes on where a killed one stopped. Raises ConfigError when nothing can be made of it, StoreUnavailable
    when the disk is full.
    """
    photos = [photo for photo in photos if min(map(len, photo.objectives)) <= MAX_WORDS]
    counted = [photo for photo in photos if photo.split == "TRAIN" or recipe.vocabulary_splits == "all"]
    vocabulary = count_words(counted, recipe.minimum_word_frequency)
    _some_must_be_there(photos)
    with_sets = len({photo.dataset for photo in photos}) > 1 or any(photo.clip is not None for photo in photos)
    make_folder(out)
    with _alone(out):
        (out / f"WORDMAP_{recipe.base}.json").unlink(missing_ok=True)
        problems: list[str] = []
        writers = []
        for split in SPLITS:
            of_split = [photo for photo in photos if photo.split == split]
            for stale in () if of_split else out.glob(f"{split}_*_{recipe.base}.*"):
                stale.unlink()
            if of_split:
                writer = _write_images(out / f"{split}_IMAGES_{recipe.base}.hdf5", of_split, recipe)
                kept = [photo for index, photo in enumerate(of_split) if index not in writer.progress.skipped]
                _write_captions(out, split, kept, recipe, vocabulary, with_sets)
                problems += writer.progress.skipped.values()
                writers.append(writer)
        _write_skipped(out / f"LEFT_OUT_{recipe.base}.txt", problems)
        write_durably(out / f"WORDMAP_{recipe.base}.json", vocabulary.to_json().encode())
        for writer in writers:
            writer.journal.unlink()
    return problems


def count_words(photos: Iterable[Photo], minimum: int) -> Vocabulary:
    """The vocabulary of the words that stand in these photos' captions `minimum` times or more, `<pad>` first."""
    counts = Counter(word for photo in photos for caption in photo.objectives for word in caption)
    if not counts:
        raise ConfigError("the train split is empty: no vocabulary can be made")
    words = [word for word, count in counts.items() if count >= minimum and word not in (PAD, UNKNOWN, START, END)]
    if not words:
        raise ConfigError(f"no word stands in the captions {minimum} times: lower --minimum-word-frequency")
    return Vocabulary((PAD, *words, UNKNOWN, START, END))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which gets its final name only when everything went well and is on the disk.

    Raises StoreUnavailable when the disk is full.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with disk_errors_explained(path):
            yield unfinished
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
    """Let a disk that takes no more be StoreUnavailable, in words."""
    try:
        yield
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise StoreUnavailable(
            f"{path}: cannot be written ({os.strerror(error.errno)}): no half-made file bears this name; make room and run "
            "the same command again"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs at the same time would write into the same unfinished files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"{folder}: another `python -m train prepare` is at work there") from None
    finally:
        os.close(descriptor)


def _some_must_be_there(photos: Sequence[Photo]) -> None:
    """Raises ConfigError when none of a hundred photos exists: the folder of images is the wrong one."""
    some = photos[:: max(1, len(photos) // 100)]
    if not any(os.path.exists(photo.path) for photo in some):  # noqa: PTH110 (Path.exists raises for too long names)
        raise ConfigError(
            f"{some[0].path}: not there, nor are {len(some) - 1} other photos that were looked for: name with --images the "
            "folder that holds the photos (for COCO: the one that holds train2014 and val2014)"
        )


def _write_images(path: Path, photos: Sequence[Photo], recipe: Recipe) -> ImageWriter:
    shape = ImageShape(len(photos), recipe.captions_per_image, recipe.size, recipe.store)
    plan = [recipe.captions_per_image, recipe.size, recipe.store, JPEG, h5py.version.hdf5_version]
    digest = hashlib.sha256(json.dumps([plan, [str(photo.path) for photo in photos]]).encode()).hexdigest()
    cores = len(os.sched_getaffinity(0))
    with disk_errors_explained(path):
        writer = ImageWriter(path, shape, digest)
    done = writer.progress.photos
    _need_space(path, recipe, len(photos) - done)
    if writer.finished:
        return writer
    with disk_errors_explained(path), writer, ThreadPoolExecutor(cores) as pool:
        loaded = in_order(pool, partial(_load, recipe), photos[done:], 16 * cores)
        for image in tqdm(loaded, path.name.split("_")[0], len(photos), initial=done, unit="photo"):
            if isinstance(image, str):
                writer.skip(_printable(image))
            else:
                writer.add(image)
        writer.finish()
    return writer


def _need_space(path: Path, recipe: Recipe, photos: int) -> None:
    needed = photos * 3 * recipe.size**2 // (JPEG_SHARE if recipe.store == "jpeg" else 1)
    free = free_bytes(path.parent)
    if needed > free:
        raise StoreUnavailable(
            f"{path}: its images need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there: make room, or take "
            "--store jpeg (a tenth of the size)"
        )


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk."""
    return shutil.disk_usage(folder).free


def _load(recipe: Recipe, photo: Photo) -> bytes | str:
    """The image as the worker would see it, as it is stored, or what is wrong with it."""
    try:
        found = photo.path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return f"{photo.path}: not a file, or larger than {MAX_BYTES >> 20} MB"
        pixels = decode(photo.path.read_bytes(), Preprocessing(recipe.size), MAX_PIXELS).pixels
    except OSError as error:
        return f"{photo.path}: {error.strerror}"
    except OversizedFrame:
        return f"{photo.path}: more than {MAX_PIXELS // 10**6} million pixels"
    except DecodeError as error:
        return f"{photo.path}: {error}"
    if recipe.store == "pixels":
        return pixels.transpose(2, 0, 1).tobytes()
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), JPEG)
    assert done
    return data.tobytes()


def _printable(text: str) -> str:
    """The text in one line, which no file name can break, nor move the terminal's cursor."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _write_skipped(path: Path, problems: Sequence[str]) -> None:
    if problems:
        write_durably(path, "".join(f"{problem}\n" for problem in problems).encode())
    else:
        path.unlink(missing_ok=True)


def _write_captions(
    out: Path, split: str, photos: list[Photo], recipe: Recipe, vocabulary: Vocabulary, with_sets: bool
) -> None:
    generator = random.Random(f"{recipe.seed}-{split}")  # noqa: S311 (which captions to keep is no secret)
    captions: list[list[int]] = []
    lengths: list[int] = []
    for photo in photos:
        short = [caption for caption in photo.objectives if len(caption) <= MAX_WORDS]
        extra = max(0, recipe.captions_per_image - len(short))
        for caption in generator.sample(short, min(len(short), recipe.captions_per_image)) + generator.choices(
            short, k=extra
        ):
            numbers = vocabulary.encode(caption)
            lengths.append(len(numbers))
            captions.append(numbers + [vocabulary.number(PAD)] * (MAX_WORDS + 2 - len(numbers)))
    references = [[list(caption) for caption in photo.captions] for photo in photos]
    numbers = [photo.identity for photo in photos]
    contents: dict[str, object] = {"CAPTIONS": captions, "CAPLENS": lengths, "REFERENCES": references, "IDS": numbers}
    if any(photo.learned is not None for photo in photos):
        contents["LEARNED"] = [[list(caption) for caption in photo.objectives] for photo in photos]
    if with_sets:
        contents["SETS"] = [[photo.dataset, photo.clip] for photo in photos]
    for kind in ("LEARNED", "SETS"):
        if kind not in contents:  # of another run of prepare
            (out / f"{split}_{kind}_{recipe.base}.json").unlink(missing_ok=True)
    for kind, content in contents.items():
        write_durably(out / f"{split}_{kind}_{recipe.base}.json", json.dumps(content).encode())
