"""A frozen encoder's features of a split, computed once and kept on disk: pictures in, a float16 array out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from framecap.captioning.model.encoder import Encoder
from train.dataset import Split
from train.prepare import whole_file

Features = npt.NDArray[np.float16]  # (photos, views, places, width); view 0 is the picture, view 1 its mirror image


def cached_features(encoder: Encoder, split: Split, cache: Path, device: torch.device, batch: int = 32) -> Features:
    """The features of every picture of the split and of its mirror image, from the cache where it has them."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{split.images.stem}_{encoder.name}_{_digest(encoder)}.npy"
    if not path.exists():
        _encode(encoder.to(device).eval(), split, path, device, batch)
    features: Features = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _digest(encoder: Encoder) -> str:
    """Weights, size and grid of the encoder in one short word."""
    digest = hashlib.sha256(f"{encoder.name} {encoder.size} {encoder.grid}".encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _encode(encoder: Encoder, split: Split, path: Path, device: torch.device, batch: int) -> None:
    photos = len(split)
    with whole_file(path) as unfinished:
        shape = (photos, 2, encoder.places, encoder.width)
        features = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
        with torch.inference_mode(), tqdm(total=photos, desc=f"encode {path.name.split('_')[0]}", unit="photo") as progress:
            for start in range(0, photos, batch):
                pictures = torch.from_numpy(split.pictures(start, start + batch)).to(device)
                for view, seen in enumerate((pictures, pictures.flip(2))):
                    features[start : start + batch, view] = encoder(seen).half().cpu().numpy()
                progress.update(len(pictures))
        features.flush()
