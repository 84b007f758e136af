"""Preprocessing, the same in training and in serving: the bytes of an image in, RGB pixels of a model's size out.

An image is resized to a square to the model's square, or made to fit into it, never cropped: a caption is about all of it.
Only this module decodes images; cv2 comes with it, so what only needs a name from here imports it where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from framecap.decoding.image_header import ImageHeader, read_header
from framecap.errors import OversizedFrame, TruncatedFrame, UndecodableFrame

Pixels = npt.NDArray[np.uint8]

_BYTES_PER_PIXEL = 4  # that worker.max_pixels allows for: images of 16 bits with transparency may have half as many pixels
_BAND = 256  # rows composited at a time, so that the arithmetic needs little memory beside the image
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model states about its images: the side of the square in pixels, and whether they are resized to a square to
    it.

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

    The header is judged first: EmptyFrame, TruncatedFrame, OversizedFrame (more than `max_pixels`), UndecodableFrame. Grey
    and CMYK become RGB, 16 bits become their upper 8, transparency is laid over white, EXIF rotation is applied. What the
    codec complains of (flipped bits) goes to standard error and is no reason to fail.
    """
    header = _accepted(data, max_pixels)
    stored = _decode(data, header, _reduction(header, preprocessing))
    pixels = _rotated(_resized(stored, *preprocessing.sides(header.width, header.height)), header.orientation)
    width, height = header.width, header.height
    if header.orientation >= 5:  # a quarter turn
        width, height = height, width
    return PreprocessedImage(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), width, height)


def decode_whole(data: bytes, max_pixels: int) -> Pixels:
    """Decode an image in its own size: (height, width, 3) BGR, as it is to be shown. Raises DecodeErrors."""
    header = _accepted(data, max_pixels)
    return _rotated(_decode(data, header, int(cv2.IMREAD_COLOR)), header.orientation)


def _accepted(data: bytes, max_pixels: int) -> ImageHeader:
    """The header of an image that may be decoded: not too large, also by the memory that it takes, and whole."""
    header = read_header(data)
    if header.width * header.height > max_pixels or header.decoded_bytes > _BYTES_PER_PIXEL * max_pixels:
        size = f"{header.width}x{header.height} pixels{' of 16 bits' if header.deep else ''}"
        raise OversizedFrame(f"{size} are more than worker.max_pixels allows ({max_pixels}): raise it")
    if not header.whole:
        raise TruncatedFrame(f"the end of the {header.format} image is missing: it breaks off after {len(data)} bytes")
    return header


def _decode(data: bytes, header: ImageHeader, reduction: int) -> Pixels:
    """The image as stored, (height, width, 3) BGR, perhaps at a fraction of its scale."""
    flags = cv2.IMREAD_UNCHANGED if header.alpha else reduction | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UndecodableFrame(f"a broken {header.format} image: {error.err}") from None
    if image is None:
        raise UndecodableFrame(f"a broken {header.format} image: its header is fine, the rest is not")
    if image.ndim == 2 and header.transparent_grey is not None:
        image = np.where(image == header.transparent_grey, np.iinfo(image.dtype).max, image)
    if image.dtype == np.uint16:
        image = np.asarray(image, np.uint16) >> 8
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    pixels = np.asarray(image, np.uint8)
    return _over_white(pixels) if pixels.shape[2] == 4 else pixels


def _reduction(header: ImageHeader, preprocessing: Preprocessing) -> int:
    """How to decode: a JPEG's own fractions average as the resize would, for half its cost, down to the model's size."""
    if header.format == "jpeg":
        width, height = preprocessing.sides(header.width, header.height)
        for divisor, flag in _REDUCED.items():
            if header.width // divisor >= width and header.height // divisor >= height:
                return int(flag)
    return int(cv2.IMREAD_COLOR)


def _over_white(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    opaque = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND):
        band = image[top : top + _BAND].astype(np.uint16)
        alpha = band[..., 3:]
        opaque[top : top + _BAND] = (band[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return opaque


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    """Sides that are too long are averaged down, then sides that are too short are interpolated up."""
    old_height, old_width = image.shape[:2]
    resized: cv2.typing.MatLike = image
    if old_height > height or old_width > width:
        resized = cv2.resize(resized, (min(old_width, width), min(old_height, height)), interpolation=cv2.INTER_AREA)
    if resized.shape[:2] != (height, width):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _rotated(resized: Pixels, orientation: int) -> Pixels:
    """The image as EXIF says it is to be shown (a resize and a rotation commute, and the resized one is smaller)."""
    if orientation >= 5:
        resized = resized.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        resized = resized[:, ::-1]
    if orientation in (3, 4, 7, 8):
        resized = resized[::-1]
    return np.ascontiguousarray(resized)
