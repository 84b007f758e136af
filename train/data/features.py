"""A frozen encoder's features of a split, computed once and kept on disk: images in, a float16 array out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from framecap.captioning.model.encoder import Encoder
from framecap.errors import ConfigError, StoreUnavailable
from train.data.dataset import Split
from train.data.prepare import whole_file
from train.files import make_folder, one_at_a_time
from train.training.precision import Amp, Precision, choose

Features = npt.NDArray[np.float16]  # (photos, views, locations, width); view 0 is the image, view 1 its mirror image

_SAMPLED = 64  # images of a split that must be the same for its cached features to be


def cached_features(
    encoder: Encoder, split: Split, cache: Path, device: torch.device, amp: Amp = "fp32", batch: int = 32
) -> Features:
    """The features of every image of the split and of its mirror image, from the cache where it has them."""
    _make_cache(cache)
    precision = choose(amp, device)
    digests = f"{_encoder_digest(encoder, precision)}_{_images_digest(split)}"
    path = cache / f"{split.images.stem}_{encoder.name}_{digests}.npy"
    if not path.exists():
        with one_at_a_time(cache):  # another run may be making them
            if not path.exists():
                _encode(encoder.to(device).eval(), split, path, device, precision, batch)
    try:
        features: Features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not whole ({error}): remove it, and it is made again") from None
    return features


def _make_cache(cache: Path) -> None:
    try:
        make_folder(cache)
    except ConfigError as error:
        raise ConfigError(f"{error}, or keep no features (train.cache_features: false)") from None


def digest(weights: nn.Module) -> str:
    """All weights and their names in one short word."""
    hashed = hashlib.sha256()
    for name, value in sorted(weights.state_dict().items()):
        hashed.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]


def _encoder_digest(encoder: Encoder, precision: Precision) -> str:
    """Weights, size and grid of the encoder, and the precision, in one short word."""
    output = f"{encoder.name} {encoder.size} {encoder.grid} {digest(encoder)} {precision.name}"
    return hashlib.sha256(output.encode()).hexdigest()[:16]


def _images_digest(split: Split) -> str:
    """How many images, and what some of them show, in one short word: a data folder may have been made again."""
    hashed = hashlib.sha256(str(len(split)).encode())
    for number in sorted({round(index) for index in np.linspace(0, len(split) - 1, _SAMPLED)}):
        hashed.update(split.read_images(number, number + 1).tobytes())
    return hashed.hexdigest()[:8]


def _need_space(unfinished: Path, path: Path) -> None:
    """Take the room on the disk: to write into a mapped file that finds none later kills the process."""
    size = unfinished.stat().st_size
    with unfinished.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise StoreUnavailable(
                f"{path}: there is no room for {size / 1e9:.1f} GB of features ({error.strerror}): make room, or keep none "
                "(train.cache_features: false)"
            ) from None


def _encode(encoder: Encoder, split: Split, path: Path, device: torch.device, precision: Precision, batch: int) -> None:
    photos = len(split)
    with whole_file(path) as unfinished:
        shape = (photos, 2, encoder.locations, encoder.width)
        features = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
        _need_space(unfinished, path)
        with torch.inference_mode(), tqdm(total=photos, desc=f"encode {path.name.split('_')[0]}", unit="photo") as progress:
            for start in range(0, photos, batch):
                images = torch.from_numpy(split.read_images(start, start + batch)).to(device)
                for view, seen in enumerate((images, images.flip(2))):
                    with precision.forward():
                        encoded = encoder(seen)
                    features[start : start + batch, view] = encoded.half().cpu().numpy()
                progress.update(len(images))
        features.flush()
