"""A folder, a video or nothing in; 640x480 JPEGs as a camera stores them, no two the same, out.

Without a source the images are made: sky, ground and a figure or two, with texture and grain. What matters for a
measurement is as in photos: the JPEGs' bytes, and how many words the bundled model takes (benchmarks/README.md compares).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from framecap.errors import SourceNotFound
from framecap.frames import FRAME_SUFFIXES

WIDTH, HEIGHT = 640, 480
QUALITY = 90  # as capture.jpeg_quality
_DIFFERENT = 64  # images at most that are read or made anew; the others are cut and lit differently

Pixels = npt.NDArray[np.uint8]


def make_images(folder: Path, count: int, source: Path | None = None) -> list[Path]:
    """Write `count` JPEGs; `source`: a folder of images or a video to take them from. Raises SourceNotFound."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    different = min(count, _DIFFERENT)
    images = list(islice(_read(source) if source else _scenes(generator), different))
    if not images:
        raise SourceNotFound(f"{source}: no images or video here: name a folder of .jpg files, or a video file")
    paths = []
    for number, image in enumerate(islice(cycle(images), count)):
        path = folder / f"{number:06}.jpg"
        cv2.imwrite(str(path), _varied(image, generator), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        paths.append(path)
    return paths


def _varied(image: Pixels, generator: np.random.Generator) -> Pixels:
    """Cut and lit differently, 640x480."""
    zoom = generator.uniform(0.8, 1.0)
    height, width = (max(1, int(side * zoom)) for side in image.shape[:2])
    cut = cv2.convertScaleAbs(image[:height, :width], alpha=generator.uniform(0.8, 1.2))
    return np.asarray(cv2.resize(cut, (WIDTH, HEIGHT)), np.uint8)


def _read(source: Path) -> Iterator[Pixels]:
    """The images of a folder, or a video's frames, evenly over its length."""
    if source.is_dir():
        paths = (path for path in sorted(source.iterdir()) if path.suffix.lower() in FRAME_SUFFIXES)
        for path in paths:
            if (image := cv2.imread(str(path))) is not None:
                yield np.asarray(image, np.uint8)
        return
    video: Any = cv2.VideoCapture(str(source))
    every = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // _DIFFERENT)
    number = 0
    while (read := video.read())[0]:
        if number % every == 0:
            yield read[1]
        number += 1


def _scenes(generator: np.random.Generator) -> Iterator[Pixels]:
    while True:
        yield one_scene(generator)


def one_scene(generator: np.random.Generator) -> Pixels:
    """A made image, (480, 640, 3) BGR."""
    horizon = int(generator.uniform(0.25, 0.6) * HEIGHT)
    canvas = np.empty((HEIGHT, WIDTH, 3), np.float32)
    canvas[:horizon] = generator.uniform((180, 130, 90), (250, 210, 190))  # sky, BGR
    canvas[horizon:] = generator.uniform((30, 70, 40), (110, 170, 150))  # grass, sand
    canvas[horizon:] *= _texture(generator, 0.5)[horizon:]
    canvas[:horizon] *= _texture(generator, 0.12)[:horizon]
    for _ in range(int(generator.integers(1, 3))):
        _figure(canvas, horizon, generator)
    canvas += generator.normal(0, 4, canvas.shape)  # a sensor's noise
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _texture(generator: np.random.Generator, strength: float) -> npt.NDArray[np.float32]:
    """Brightness around 1, (height, width, 1), with detail at every scale as nature has it."""
    total = np.zeros((HEIGHT, WIDTH), np.float32)
    for step in (1, 2, 4, 8, 16, 32, 64):
        grain = generator.standard_normal((HEIGHT // step + 1, WIDTH // step + 1)).astype(np.float32)
        total += cv2.resize(grain, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    brightness = 1 + strength * total / np.abs(total).max()
    return np.asarray(brightness[:, :, None], np.float32)


def _figure(canvas: npt.NDArray[np.float32], horizon: int, generator: np.random.Generator) -> None:
    """A body on legs and a head, as of an animal, shaded."""
    length = int(generator.uniform(80, 240))
    height, x = length // 3, int(generator.uniform(0.2, 0.8) * WIDTH)
    foot = min(HEIGHT - 5, horizon + int(generator.uniform(40, 180)))
    back = foot - int(1.4 * height)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(mask, (x, back), (length // 2, height // 2), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    cv2.circle(mask, (x + length // 2, back - height // 3), height // 2, 1.0, -1, cv2.LINE_AA)
    for leg in (-0.4, -0.3, 0.3, 0.4):
        cv2.line(mask, (x + int(leg * length), back), (x + int(leg * length), foot), 1.0, max(2, length // 16), cv2.LINE_AA)
    grey = generator.uniform(20, 230)
    colour = np.clip(grey + generator.uniform((-30, -10, 0), (0, 10, 40)), 0, 255).astype(np.float32)
    canvas[:] = canvas * (1 - mask[:, :, None]) + colour * _texture(generator, 0.4) * mask[:, :, None]
