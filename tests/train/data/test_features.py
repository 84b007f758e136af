"""A frozen encoder's cached features: what they are, when they are made again, and that a damaged cache is said."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from framecap.captioning.model.encoder import Encoder
from framecap.errors import ConfigError, StoreUnavailable
from tests.train.synthetic import ENCODER, SIZE, make_folder
from train.data.dataset import DataFolder
from train.data.features import cached_features
from train.files import one_at_a_time

CPU = torch.device("cpu")


def encoder(seed: int = 1, grid: int | None = None) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(ENCODER, SIZE, grid).eval()


def test_they_are_the_images_and_their_mirror_images(folder: DataFolder, tmp_path: Path) -> None:
    split = folder.split("VAL")
    model = encoder()
    features = cached_features(model, split, tmp_path, CPU, batch=4)
    assert (features.shape, features.dtype) == ((6, 2, model.locations, model.width), np.float16)
    image_files = torch.from_numpy(split.read_images(0, 6))
    with torch.no_grad():
        for view, seen in enumerate((image_files, image_files.flip(2))):
            np.testing.assert_allclose(features[:, view], model(seen).numpy(), rtol=2e-3, atol=2e-3)
    assert not np.allclose(features[:, 0], features[:, 1], atol=1e-2)


def test_they_are_made_once(folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = folder.split("VAL")
    first = cached_features(encoder(), split, tmp_path, CPU)
    monkeypatch.setattr(Encoder, "forward", None)
    np.testing.assert_array_equal(cached_features(encoder(), split, tmp_path, CPU), first)


def test_two_runs_do_not_make_them_at_the_same_time(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits for the first one's, and takes those."""
    split = folder.split("VAL")
    cache = tmp_path / "second"
    expected = cached_features(encoder(), split, tmp_path / "first", CPU)
    (made,) = (tmp_path / "first").glob("*.npy")
    cache.mkdir()
    monkeypatch.setattr("train.data.features._encode", None)
    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(cache):
            second = pool.submit(cached_features, encoder(), split, cache, CPU)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
            shutil.copy(made, cache)
        np.testing.assert_array_equal(second.result(), expected)


def test_other_weights_another_grid_or_other_images_have_their_own(folder: DataFolder, tmp_path: Path) -> None:
    split = folder.split("VAL")
    cached_features(encoder(), split, tmp_path, CPU)
    cached_features(encoder(seed=2), split, tmp_path, CPU)
    cached_features(encoder(grid=3), split, tmp_path, CPU)
    remade = make_folder(tmp_path / "again", photos=40).split("VAL")
    assert remade.images.name == split.images.name
    cached_features(encoder(), remade, tmp_path, CPU)
    assert len(list(tmp_path.glob("*.npy"))) == 4


def test_a_killed_encoding_leaves_nothing_that_is_taken_for_whole(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = folder.split("VAL")

    def fails(*_: object) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(Encoder, "forward", fails)
        with pytest.raises(RuntimeError, match="stopped"):
            cached_features(encoder(), split, tmp_path, CPU)
    assert not list(tmp_path.glob("*.npy"))
    assert len(cached_features(encoder(), split, tmp_path, CPU)) == 6


def test_a_full_disk_is_reported_before_an_image_is_encoded(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a mapped file that find no room would kill the process: room is taken before."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(Encoder, "forward", None)
    with pytest.raises(StoreUnavailable, match=r"no room for .* GB of features \(No space left .*cache_features: false"):
        cached_features(encoder(), folder.split("VAL"), tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_space_is_taken_for_all_of_them(folder: DataFolder, tmp_path: Path) -> None:
    cached_features(encoder(), folder.split("VAL"), tmp_path, CPU)
    (path,) = tmp_path.glob("*.npy")
    assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_an_address_where_none_can_be_kept_is_reported(folder: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"or keep no features \(train\.cache_features: false\)"):
        cached_features(encoder(), folder.split("VAL"), tmp_path / "file", CPU)


def test_a_truncated_cache_is_named(folder: DataFolder, tmp_path: Path) -> None:
    cached_features(encoder(), folder.split("VAL"), tmp_path, CPU)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"not whole .*: remove it, and it is made again"):
        cached_features(encoder(), folder.split("VAL"), tmp_path, CPU)
