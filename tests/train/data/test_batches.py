"""What an epoch shows: a function of the seed, the epoch and the photo, however many processes and workers there are."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from framecap.config import TrainConfig
from framecap.errors import ConfigError
from tests.train.synthetic import CONFIG, HERE
from train.data.augment import Augmentation
from train.data.batches import Batch, Epoch, PhotoSet, TrainingData, even_size, gather, plain_batches
from train.data.dataset import DataFolder
from train.training.distributed import Processes
from train.training.model import new_model

IMAGES = CONFIG.model_copy(update={"crop": 0.6, "colour": 0.3, "batch_size": 45})
CPU = torch.device("cpu")


@pytest.fixture
def photos(folder: DataFolder) -> PhotoSet:
    return PhotoSet(folder.split("TRAIN"), None)


def shown(photos: PhotoSet, config: TrainConfig = IMAGES, epoch: int = 0, rank: int = 0, count: int = 1) -> dict[int, bytes]:
    """What the epoch shows of each photo."""
    found: dict[int, bytes] = {}
    for batch in Epoch(photos, config, epoch, Processes(CPU, rank, count)).batches(0, config.workers, CPU):
        for number, seen in zip(batch.photos.tolist(), batch.seen, strict=True):
            assert number not in found
            found[number] = seen.numpy().tobytes()
    return found


def test_every_photo_is_shown_once_and_otherwise_in_the_next_epoch(photos: PhotoSet) -> None:
    first, again, second = shown(photos), shown(photos), shown(photos, epoch=1)
    assert set(first) == set(range(36))
    assert first == again
    assert all(first[number] != second[number] for number in first)


@pytest.mark.timeout(300)  # spawned workers import torch: seconds when the machine is free, minutes when it is not
def test_workers_and_processes_change_nothing(photos: PhotoSet) -> None:
    expected = shown(photos)
    assert shown(photos, IMAGES.model_copy(update={"workers": 2})) == expected
    assert shown(photos, rank=0, count=2) | shown(photos, rank=1, count=2) == expected
    pickled = pickle.loads(pickle.dumps(Epoch(photos, IMAGES, 0, HERE)))  # as a spawned worker gets it
    assert torch.equal(pickled[1].seen, Epoch(photos, IMAGES, 0, HERE)[1].seen)


@pytest.mark.timeout(60)
def test_workers_do_not_inherit_opencvs_threads(photos: PhotoSet) -> None:
    """A process that has used them, as prepare does, once forked workers that hung before their first image."""
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        cv2.resize(np.zeros((4000, 4000, 3), np.uint8), (1000, 1000), interpolation=cv2.INTER_AREA)
        time.sleep(0.5)  # until its threads wait for work: nothing tells when
        assert len(list(Epoch(photos, IMAGES, 0, HERE).batches(0, 1, HERE.device))) > 0
    finally:
        cv2.setNumThreads(before)


def test_a_step_knows_the_words_of_all_processes(photos: PhotoSet) -> None:
    (whole, *_), (half, *_) = (
        list(Epoch(photos, IMAGES, 0, Processes(CPU, 0, count)).batches(0, 0, CPU)) for count in (1, 2)
    )
    assert (half.words, half.sentences) == (whole.words, whole.sentences)
    assert whole.words == int((whole.lengths - 1).sum())
    assert len(half.photos) < len(whole.photos)
    captions = photos.split.captions[whole.photos]
    np.testing.assert_array_equal(whole.captions, captions[:, :, : whole.lengths.max()])


def test_an_epoch_goes_on_in_its_middle(photos: PhotoSet) -> None:
    epoch = Epoch(photos, IMAGES, 0, HERE)
    whole, rest = list(epoch.batches(0, 0, CPU)), list(epoch.batches(2, 0, CPU))
    assert [batch.photos.tolist() for batch in rest] == [batch.photos.tolist() for batch in whole[2:]]
    assert torch.equal(rest[0].seen, whole[2].seen)


def test_too_few_photos_for_the_processes_are_refused(photos: PhotoSet) -> None:
    config = CONFIG.model_copy(update={"batch_size": 10})
    with pytest.raises(ConfigError, match=r"train\.batch_size 10: a step has 2 photos for 3 processes"):
        Epoch(photos, config, 0, Processes(CPU, 0, 3))


def test_half_of_the_cached_features_are_mirrored(material: TrainingData) -> None:
    features = np.stack([np.full((36, 4, 12), view, np.float16) for view in (0, 1)], axis=1)
    photos = replace(material.train, features=features)

    def mirrored(config: TrainConfig) -> float:
        batches: list[Batch] = []
        for number in range(10):
            batches += Epoch(photos, config, number, HERE).batches(0, 0, CPU)
        return float(torch.cat([batch.seen[:, 0, 0] for batch in batches]).float().mean())

    assert 0.4 < mirrored(CONFIG) < 0.6
    assert mirrored(CONFIG.model_copy(update={"mirror": False})) == 0


def test_held_out_photos_judge_with_their_own_images(folder: DataFolder, tmp_path: Path) -> None:
    model = new_model(IMAGES, folder.vocabulary, pretrained=False)
    material = gather(folder, model.encoder, 8, tmp_path, IMAGES, HERE)
    assert (len(material.train), len(material.judge)) == (28, 8)
    split = folder.split("TRAIN")
    np.testing.assert_array_equal(material.judge.split.images_of(np.array([0, 7])), split.read_images(28, 36)[[0, 7]])
    assert material.judge.split.references == split.references[28:]
    cached = gather(folder, model.encoder, 8, tmp_path, CONFIG, HERE)
    assert cached.judge.features is not None
    with torch.no_grad():
        expected = model.encoder(torch.from_numpy(split.read_images(28, 36)))
    np.testing.assert_allclose(cached.judge.seen(np.arange(8)), expected, rtol=2e-3, atol=2e-3)


def test_photos_to_judge_by_come_out_even(photos: PhotoSet) -> None:
    """Five photos a step over two processes: the last one is there twice."""
    some = replace(photos, split=photos.split.part(slice(0, 5)))
    ranks = [[batch.photos.tolist() for batch in plain_batches(some, 10, Processes(CPU, rank, 2))] for rank in range(2)]
    assert ranks == [[[0, 2, 4]], [[1, 3, 4]]]


@pytest.mark.parametrize("count", [2, 3, 7, 8])
def test_photos_to_judge_by_keep_their_order_over_any_number_of_processes(material: TrainingData, count: int) -> None:
    """Captions are judged by their place: a photo that filled up a batch in the middle would move all that come after."""
    many = np.arange(103) % len(material.train)
    assert material.train.features is not None
    split = replace(
        material.train.split,
        captions=material.train.split.captions[many],
        lengths=material.train.split.lengths[many],
    )
    photos = PhotoSet(split, material.train.features[many])
    ranks = [list(plain_batches(photos, 10, Processes(CPU, rank, count))) for rank in range(count)]
    assert {len(batches) for batches in ranks} == {math.ceil(103 / even_size(10, Processes(CPU, 0, count)))}
    order = [number for together in zip(*ranks, strict=True) for number in _gathered(together)]
    assert order[:103] == list(range(103))
    assert 0 <= len(order) - 103 < count
    assert set(order[103:]) <= {102}


def _gathered(batches: Iterable[Batch]) -> list[int]:
    """The photos of one step in the order of `Processes.gather`."""
    return np.stack([batch.photos for batch in batches], axis=1).ravel().tolist()


# Augmentation


def generator() -> np.random.Generator:
    return np.random.default_rng(1)


def image() -> np.ndarray:
    """Bright on its left, red on its top."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = 200
    pixels[:32, :, 0] += 50
    return pixels


def views(augmentation: Augmentation, count: int = 40) -> list[np.ndarray]:
    choose = generator()
    return [augmentation.apply(image(), choose) for _ in range(count)]


def test_nothing_switched_on_changes_nothing() -> None:
    assert all(np.array_equal(view, image()) for view in views(Augmentation(mirror=False, crop=1, colour=0)))


def test_mirroring_turns_left_and_right_and_nothing_else() -> None:
    seen = views(Augmentation(mirror=True, crop=1, colour=0))
    assert {view.tobytes() for view in seen} == {image().tobytes(), image()[:, ::-1].tobytes()}


def test_a_crop_keeps_part_of_each_side_and_the_size() -> None:
    seen = views(Augmentation(mirror=False, crop=0.6, colour=0))
    assert {view.shape for view in seen} == {(64, 64, 3)}
    bright = [int((view[:, :, 1] > 100).any(axis=0).sum()) for view in seen]  # columns of the bright left half
    assert min(bright) < 28
    assert max(bright) > 36
    assert min(bright) + 1 > 64 * (0.5 - 0.4) / 0.6
    assert max(bright) - 1 < 64 * 0.5 / 0.6


def test_colours_vary_within_bounds_and_stay_in_range() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    choose = generator()
    levels = [Augmentation(mirror=False, crop=1, colour=0.3).apply(grey, choose) for _ in range(50)]
    assert all(len(np.unique(view)) == 1 for view in levels)  # grey stays grey
    assert 69 <= min(view.min() for view in levels) < 80 < 120 < max(view.max() for view in levels) <= 131
    assert Augmentation(mirror=False, crop=1, colour=0.9).apply(np.full((8, 8, 3), 255, np.uint8), choose).max() <= 255
