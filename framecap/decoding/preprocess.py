"""Preprocessing, the same in training and in serving: the bytes of an image in, RGB pixels of a model's size out.

An image is resized to the model's square, or made to fit into it, never cropped: a caption is about all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from framecap.decoding.decode import Pixels, decode_stored, readable_header, rotated
from framecap.decoding.image_header import ImageHeader

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model states about its images: the side of the square in pixels, and whether they are resized to it.

    Those that are not keep their proportions, and their size where they are smaller.
    """

    size: int
    square_resize: bool = True

    def sides(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of these sides is brought to."""
        if self.square_resize:
            return self.size, self.size
        scale = min(1.0, self.size / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, slots=True)
class PreprocessedImage:
    """A decoded image: pixels (height, width, 3) RGB, at most `size` wide and high; the size it is shown at, in pixels,
    after EXIF rotation."""

    pixels: Pixels
    width: int
    height: int


def decode(data: bytes, preprocessing: Preprocessing, max_pixels: int) -> PreprocessedImage:
    """Decode a JPEG, PNG or WebP image and bring it to the model's size.

    The header is judged first: EmptyFrame, TruncatedFrame, OversizedFrame (more than `max_pixels`, or more memory than they
    take), UndecodableFrame. EXIF rotation is applied; see `decode.decode_stored` for the rest.
    """
    header = readable_header(data, max_pixels)
    stored = decode_stored(data, header, _reduction(header, preprocessing))
    # a resize and a rotation commute, and the resized image is smaller
    pixels = rotated(_resized(stored, *preprocessing.sides(header.width, header.height)), header.orientation)
    width, height = header.width, header.height
    if header.orientation >= 5:  # a quarter turn
        width, height = height, width
    return PreprocessedImage(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), width, height)


def _reduction(header: ImageHeader, preprocessing: Preprocessing) -> int:
    """How to decode: a JPEG's own fractions average as the resize would, for half its cost, down to the model's size."""
    if header.format == "jpeg":
        width, height = preprocessing.sides(header.width, header.height)
        for divisor, flag in _REDUCED.items():
            if header.width // divisor >= width and header.height // divisor >= height:
                return int(flag)
    return int(cv2.IMREAD_COLOR)


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    """Sides that are too long are averaged down, then sides that are too short are interpolated up."""
    old_height, old_width = image.shape[:2]
    resized: cv2.typing.MatLike = image
    if old_height > height or old_width > width:
        resized = cv2.resize(resized, (min(old_width, width), min(old_height, height)), interpolation=cv2.INTER_AREA)
    if resized.shape[:2] != (height, width):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
