"""python -m benchmarks.prepare: this machine in; images/s of `train.data.prepare` beside the seed's own loop out, as a
table.

The seed's loop is written here as create_input_files.py has it: one process, for each photo cv2.imread, PIL's resize to
256 x 256, and one write into the HDF5 file. Both sides start from the same JPEGs and end with the images on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
from PIL import Image
from tqdm import tqdm

from framecap.bench.images import make_images
from train.data.karpathy import read_karpathy
from train.data.prepare import Recipe, prepare_photos

CLIP = Path(__file__).parents[1] / "samples" / "clip.mp4"
SIZE = 256
LARGE = (4000, 3000)  # 12 megapixels
MARKS = {"640x480": 1.9, "4000x3000": 4.0}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("--photos", type=int, default=2000, help="640x480 JPEGs of a run (2000)")
    parser.add_argument("--large-photos", type=int, default=60, help="12-megapixel JPEGs of a run (60)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side, in turn; medians are printed (5)")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, {options.runs} runs of each side in turn, medians of images/s")
    with tempfile.TemporaryDirectory(prefix="framecap-bench-") as name:
        folder = Path(name)
        small = make_images(folder / "640x480", options.photos, CLIP)
        sets = {"640x480": small, "4000x3000": make_large(folder / "4000x3000", small[: options.large_photos])}
        for title, photos in sets.items():
            print(report(title, photos, *compare(folder, photos, options.runs)))


def make_large(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """12-megapixel JPEGs of about 3 MB: enlarged, with a sensor's noise."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 6, (LARGE[1], LARGE[0], 1))
    paths = []
    for photo in photos:
        image = cv2.resize(cv2.imread(str(photo)), LARGE, interpolation=cv2.INTER_CUBIC)
        path = folder / photo.name
        grain = np.roll(noise, int(generator.integers(LARGE[0])), axis=1)
        cv2.imwrite(str(path), np.clip(image + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 88])
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Run:
    """Images a second, and CPU-milliseconds an image: what a second core that others use cannot change."""

    speed: float
    cpu: float


def compare(folder: Path, photos: Sequence[Path], runs: int) -> tuple[list[Run], list[Run]]:
    """The seed's loop and prepare, in turn, so that the machine's moods hit both."""
    seed, ours = [], []
    for _ in tqdm(range(runs), "runs", unit="run"):
        seed.append(timed(seed_loop, photos, folder / "seed.hdf5"))
        ours.append(timed(own, photos, folder / "data"))
    return seed, ours


def timed(make: Callable[[Sequence[Path], Path], None], photos: Sequence[Path], out: Path) -> Run:
    started, cpu = time.perf_counter(), time.process_time()
    make(photos, out)
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu
    return Run(len(photos) / seconds, 1000 * busy / len(photos))


def seed_loop(photos: Sequence[Path], out: Path) -> None:
    """The seed's loop."""
    out.unlink(missing_ok=True)
    with h5py.File(out, "a") as file:
        file.attrs["captions_per_image"] = 5
        images = file.create_dataset("images", (len(photos), 3, SIZE, SIZE), dtype="uint8")
        for number, path in enumerate(photos):
            image = cv2.imread(str(path))
            image = np.array(Image.fromarray(image).resize((SIZE, SIZE)))
            images[number] = image.transpose(2, 0, 1)


def own(photos: Sequence[Path], out: Path) -> None:
    """prepare: captions, word map and fsync included."""
    shutil.rmtree(out, ignore_errors=True)
    captions = [{"tokens": ["a", "man", "walks"]}] * 5
    entries = [{"filename": path.name, "split": "train", "sentences": captions} for path in photos]
    karpathy = photos[0].parent.with_suffix(".json")
    karpathy.write_text(json.dumps({"images": entries}))
    with contextlib.redirect_stderr(io.StringIO()):  # its own progress bar
        problems = prepare_photos(Recipe(dataset="bench", size=SIZE), read_karpathy(karpathy, photos[0].parent), out)
    assert not problems


def report(title: str, photos: Sequence[Path], seed: Sequence[Run], ours: Sequence[Run]) -> str:
    """One row; the ratio is the median of the runs' own ratios."""
    ratios = [own_run.speed / seed_run.speed for own_run, seed_run in zip(ours, seed, strict=True)]
    kilobytes = statistics.mean(path.stat().st_size for path in photos) / 1000
    figures = [
        f"{name} {statistics.median(run.speed for run in runs):.1f} images/s, "
        f"{statistics.median(run.cpu for run in runs):.1f} CPU-ms an image"
        for name, runs in (("the seed's loop", seed), ("prepare", ours))
    ]
    return (
        f"  {title}, {kilobytes:.0f} kB each: {'; '.join(figures)}\n"
        f"    {statistics.median(ratios):.2f} times the seed's images/s ({min(ratios):.2f} to {max(ratios):.2f}; "
        f"mark: {MARKS[title]})"
    )


if __name__ == "__main__":
    main()
