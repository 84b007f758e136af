"""A photo's pixels and a random generator in, the photo as it could also have been taken out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (size, size, 3) RGB

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of RGB, ITU-R BT.601


@dataclass(frozen=True)
class Augmentation:
    """See train.mirror, train.crop and train.colour in config.yaml."""

    mirror: bool
    crop: float
    colour: float

    @property
    def only_mirrors(self) -> bool:
        """Whether features of the image and of its mirror image are all that is ever seen."""
        return self.crop == 1 and self.colour == 0

    def apply(self, image: Pixels, generator: np.random.Generator) -> Pixels:
        """One view of the image; the generator is drawn from equally often whatever is switched on."""
        mirrored = generator.random() < 0.5
        sides = generator.uniform(self.crop, 1, 2)
        corner = generator.random(2)
        factors = generator.uniform(1 - self.colour, 1 + self.colour, 3).astype(np.float32)
        if self.mirror and mirrored:
            image = image[:, ::-1]
        if self.crop < 1:
            image = _cropped(image, sides, corner)
        if self.colour > 0:
            image = _coloured(image, factors)
        return np.ascontiguousarray(image)


def _cropped(image: Pixels, sides: npt.NDArray[np.float64], corner: npt.NDArray[np.float64]) -> Pixels:
    """A part of the image, resized to a square to its size again: the two sides differ, as other images' shapes do."""
    size = len(image)
    height, width = (max(1, round(float(side) * size)) for side in sides)
    top, left = round(float(corner[0]) * (size - height)), round(float(corner[1]) * (size - width))
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _coloured(image: Pixels, factors: npt.NDArray[np.float32]) -> Pixels:
    """Brightness, contrast about the mean, and saturation about the grey, each by its factor."""
    brightness, contrast, saturation = factors
    pixels = image.astype(np.float32) * brightness
    pixels += (contrast - 1) * (pixels - pixels.mean())
    pixels += (saturation - 1) * (pixels - (pixels @ _GREY)[..., None])
    return np.asarray(pixels.round().clip(0, 255), np.uint8)
