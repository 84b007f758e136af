"""A data folder and an encoder in; the photos to train on and to be judged by, and the batches of every epoch out.

What an epoch shows depends on the seed, the epoch and the photo alone: not on how many processes train, how many workers
read, or whether the run was interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from framecap.captioning.model.encoder import Encoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.config import TrainConfig
from framecap.errors import ConfigError
from train.data.augment import Augmentation
from train.data.dataset import DataFolder, Split
from train.data.features import Features, cached_features
from train.data.held_out import HeldOut, held_out_rows
from train.training.distributed import Processes

Numbers = npt.NDArray[np.int64]  # of photos in their split


@dataclass(frozen=True)
class PhotoSet:
    """A split's captions, and the cached features of its whole file of images or, without them, its images."""

    split: Split
    features: Features | None

    def __len__(self) -> int:
        return len(self.split)

    def seen(self, numbers: Numbers, views: int | list[int] = 0) -> npt.NDArray[np.float16]:
        """The cached features of these photos, (photos, locations, width), each in its view."""
        assert self.features is not None
        return np.ascontiguousarray(self.features[self.split.in_file(numbers), views])


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on, and what it is judged by (photos it does not train on)."""

    train: PhotoSet
    judge: PhotoSet
    vocabulary: Vocabulary
    held_out: HeldOut = 0  # of the split TRAIN, to judge by; 0: the split VAL judges


@dataclass(frozen=True)
class Batch:
    """This process's photos of a step.

    `seen`: features (photos, locations, width) or images (photos, size, size, 3) uint8; `captions` (photos, n, longest) with
    their `lengths` (photos, n); `photos`: their numbers; `words` to predict and `sentences` of the step in all processes.
    """

    seen: Tensor
    captions: Tensor
    lengths: Tensor
    photos: Numbers
    words: int
    sentences: int

    def to(self, device: torch.device) -> Batch:
        captions, lengths = self.captions.to(device), self.lengths.to(device)
        return replace(self, seen=self.seen.to(device), captions=captions, lengths=lengths)


def gather(
    folder: DataFolder, encoder: Encoder, held_out: HeldOut, cache: Path, config: TrainConfig, here: Processes
) -> TrainingData:
    """The split TRAIN; judged by its last `held_out` photos (of each data set), or by VAL when that is 0.

    Features are cached where that is wanted, the encoder is frozen and nothing but mirroring changes the images; one
    process makes them.
    """
    train = _photos(folder, "TRAIN", encoder, cache, config, here)
    if not held_out:
        return TrainingData(train, _photos(folder, "VAL", encoder, cache, config, here), folder.vocabulary)
    judging = held_out_rows(train.split, held_out)
    training = np.setdiff1d(np.arange(len(train)), judging)
    return TrainingData(_part(train, training), _part(train, judging), folder.vocabulary, held_out)


def _photos(folder: DataFolder, name: str, encoder: Encoder, cache: Path, config: TrainConfig, here: Processes) -> PhotoSet:
    split = folder.split(name)
    side = split.file.shape.size
    if side != encoder.size:
        raise ConfigError(
            f"{split.images}: its images are {side} pixels wide, the encoder takes {encoder.size}: set train.size, or "
            f"run `python -m train prepare --size {encoder.size}`"
        )
    if not config.cache_features or config.fine_tune != "none" or not augmentation(config).only_mirrors:
        return PhotoSet(split, None)
    if here.first:
        cached_features(encoder, split, cache, here.device, config.amp)
    here.wait()
    return PhotoSet(split, cached_features(encoder, split, cache, here.device, config.amp))


def _part(photos: PhotoSet, part: Numbers) -> PhotoSet:
    return PhotoSet(photos.split.part(part), photos.features)


def augmentation(config: TrainConfig) -> Augmentation:
    return Augmentation(config.mirror, config.crop, config.colour)


class Epoch(Dataset[Batch]):
    """The steps of one epoch, as this process sees them: every photo once in random order, or as often as train.mix says."""

    def __init__(self, photos: PhotoSet, config: TrainConfig, epoch: int, here: Processes) -> None:
        self.photos, self.seed, self.epoch = photos, config.seed, epoch
        self.augmentation = augmentation(config)
        self.rank, self.count = here.rank, here.count
        generator = np.random.default_rng((config.seed, epoch))
        shuffled = (
            generator.permutation(_mixed(photos, config, generator)) if config.mix else generator.permutation(len(photos))
        )
        self.steps = [np.sort(part) for part in np.array_split(shuffled, steps_of(photos, config))]
        if len(self.steps[-1]) < here.count:
            raise ConfigError(
                f"train.batch_size {config.batch_size}: a step has {len(self.steps[-1])} photos for {here.count} processes"
            )

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, step: int) -> Batch:
        every = self.steps[step]
        own = every[self.rank :: self.count]
        return _batch(self.photos, own, self._see(own), every)

    def _see(self, numbers: Numbers) -> npt.NDArray[np.float16] | npt.NDArray[np.uint8]:
        """The photos, each as it is or in another view."""
        generators = [np.random.default_rng((self.seed, self.epoch, *which)) for which in _with_copies(numbers)]
        if self.photos.features is not None:
            mirrored = [int(self.augmentation.mirror and generator.random() < 0.5) for generator in generators]
            return self.photos.seen(numbers, mirrored)
        images = zip(self.photos.split.images_of(numbers), generators, strict=True)
        return np.stack([self.augmentation.apply(image, generator) for image, generator in images])

    def batches(self, start: int, workers: int, device: torch.device) -> Iterator[Batch]:
        """The steps from `start` on; images are read and changed by `workers` processes, features by this one."""
        _one_thread(0)  # before the fork: a worker that inherits OpenCV's threads, which do not live on in it, hangs
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(start, len(self)),
            num_workers=0 if self.photos.features is not None else workers,
            collate_fn=_as_it_is,
            worker_init_fn=_one_thread,
        )
        for batch in loader:
            yield batch.to(device)


def steps_of(photos: PhotoSet, config: TrainConfig) -> int:
    """How many steps an epoch has: batches of equal size, as near to train.batch_size captions as photos allow."""
    photos_a_step = max(1, config.batch_size // int(photos.split.captions.shape[1]))
    return -(-sum(_shares(photos, config).values()) // photos_a_step)


def _shares(photos: PhotoSet, config: TrainConfig) -> dict[str, int]:
    """How many photos of each data set an epoch shows. Raises ConfigError where train.mix does not fit the data."""
    if not config.mix:
        return {"": len(photos)}
    names = photos.split.set_names
    unknown = sorted(set(config.mix) - set(names))
    if unknown:
        raise ConfigError(f"train.mix: {unknown[0]}: the data folder has the data sets {', '.join(names) or 'none by name'}")
    shares = {name: round(config.mix.get(name, 1.0) * len(photos.split.rows_of(name))) for name in names}
    if not any(shares.values()):
        raise ConfigError("train.mix: an epoch would show no photo at all")
    return shares


def _mixed(photos: PhotoSet, config: TrainConfig, generator: np.random.Generator) -> Numbers:
    """The photos of an epoch: each of a data set as often as its weight says, what is left over drawn by chance."""
    parts = []
    for name, share in _shares(photos, config).items():
        own = photos.split.rows_of(name)
        whole, rest = divmod(share, max(1, len(own)))
        parts += [np.tile(own, whole), generator.permutation(own)[:rest]]
    return np.concatenate(parts)


def _with_copies(numbers: Numbers) -> Iterator[tuple[int, ...]]:
    """What tells apart the views of an epoch's photos: the number, and, from its second time in a step on, which time."""
    before: Counter[int] = Counter()
    for number in numbers.tolist():
        yield (number, before[number]) if before[number] else (number,)
        before[number] += 1


def even_size(size: int, here: Processes) -> int:
    """The size of a batch of which each process has equally many photos: this one or the next larger one."""
    return -(-size // here.count) * here.count


def plain_batches(photos: PhotoSet, size: int, here: Processes) -> Iterator[Batch]:
    """Every photo once as it is, in order, `even_size` at a time over all processes; each process has equally many.

    Where the last batch does not come out even, the last photo fills up.
    """
    last, size = len(photos) - 1, even_size(size, here)
    for start in range(0, len(photos), size):
        every = np.arange(start, min(start + size, len(photos)))
        filled = np.minimum(np.arange(start, start + -(-len(every) // here.count) * here.count), last)
        own = filled[here.rank :: here.count]
        seen = photos.split.images_of(own) if photos.features is None else photos.seen(own)
        yield _batch(photos, own, seen, filled).to(here.device)


def _batch(photos: PhotoSet, own: Numbers, seen: npt.NDArray[np.float16] | npt.NDArray[np.uint8], every: Numbers) -> Batch:
    lengths = photos.split.lengths[own]
    every_length = photos.split.lengths[every]
    return Batch(
        torch.from_numpy(seen),
        torch.from_numpy(photos.split.captions[own, :, : lengths.max()]),
        torch.from_numpy(lengths),
        own,
        int((every_length - 1).sum()),
        every_length.size,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    """For OpenCV: the workers are the parallelism."""
    cv2.setNumThreads(1)
