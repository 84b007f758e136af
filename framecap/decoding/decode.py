"""The one way from an image's bytes to its pixels, for frames that are captured, captioned, trained on and shown.

What every viewer shows is what comes out: grey and CMYK become RGB, 16 bits become their upper 8, transparency is laid
over white, and of an animation the still image (APNG) or first frame (WebP) is taken. Only this module decodes images;
cv2 comes with it, so what needs only a name from here imports it where it is used.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from framecap.decoding.image_header import ALPHA_BYTES_PER_PIXEL, ImageHeader, png_chunks, read_header
from framecap.errors import OversizedFrame, TruncatedFrame, UndecodableFrame

Pixels = npt.NDArray[np.uint8]

SETTING = "worker.max_pixels"  # what the limit is called for those who can raise it

_BAND = 256  # rows composited at a time, so that the arithmetic needs little memory beside the image
_ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")


def memory_limit(max_pixels: int) -> int:
    """Bytes that decoding one image may take: those of an 8-bit image with transparency of so many pixels."""
    return max_pixels * ALPHA_BYTES_PER_PIXEL


def check_size(header: ImageHeader, max_pixels: int) -> None:
    """Raises OversizedFrame for an image of more pixels than `max_pixels`, or one that costs more memory than they do."""
    pixels = header.width * header.height
    size = f"{header.width}x{header.height} pixels"
    if pixels > max_pixels:
        raise OversizedFrame(f"{size} are more than {SETTING} allows ({max_pixels}): raise it")
    if pixels * header.bytes_per_pixel > memory_limit(max_pixels):
        raise OversizedFrame(
            f"{size} of this kind take {header.bytes_per_pixel} bytes each to decode: at most "
            f"{memory_limit(max_pixels) // header.bytes_per_pixel} are allowed where {SETTING} is {max_pixels}: raise it"
        )


def readable_header(data: bytes, max_pixels: int) -> ImageHeader:
    """The header of an image that is whole and within the limits: nothing else should reach `decode_stored`.

    Raises EmptyFrame, TruncatedFrame, OversizedFrame and UndecodableFrame.
    """
    header = read_header(data)
    check_size(header, max_pixels)
    if not header.whole:
        raise TruncatedFrame(f"the end of the {header.format} image is missing: it breaks off after {len(data)} bytes")
    return header


def decode_whole(data: bytes, max_pixels: int) -> Pixels:
    """The whole image as it is shown, (height, width, 3) BGR, in its own size. Raises as `readable_header` does."""
    header = readable_header(data, max_pixels)
    return rotated(decode_stored(data, header), header.orientation)


def decode_stored(data: bytes, header: ImageHeader, colour_flag: int = cv2.IMREAD_COLOR) -> Pixels:
    """The image as stored, (height, width, 3) BGR; `colour_flag` may ask for a fraction of a JPEG's scale.

    What the codec complains of (flipped bits) goes to standard error and is no reason to fail.
    """
    unchanged = header.alpha or header.transparent_grey is not None or header.format == "webp"
    flags = cv2.IMREAD_UNCHANGED if unchanged else colour_flag | cv2.IMREAD_IGNORE_ORIENTATION
    still = _without_animation(data) if header.animated and header.format == "png" else data
    try:
        image = cv2.imdecode(np.frombuffer(still, np.uint8), flags)
    except cv2.error as error:
        if getattr(error, "code", None) == cv2.Error.StsNoMem:
            raise OversizedFrame(f"decoding the {header.format} image takes more memory than {SETTING} allows") from None
        reason = getattr(error, "err", None) or str(error)  # an exception of the standard library has no fields
        raise UndecodableFrame(f"a broken {header.format} image: {reason}") from None
    if image is None:
        raise UndecodableFrame(f"a broken {header.format} image: its header is fine, the rest is not")
    return _opaque(np.asarray(image), header.transparent_grey)


def rotated(image: Pixels, orientation: int) -> Pixels:
    """The image as EXIF says it is to be shown."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _without_animation(png: bytes) -> bytes:
    """An APNG's still image alone: the decoder would keep two frames in memory, and may show another one."""
    parts = [png[:8]]
    for kind, position, end in png_chunks(png):
        if kind not in _ANIMATION_CHUNKS:
            parts.append(png[position - 8 : end])
    return b"".join(parts)


def _opaque(image: npt.NDArray[np.uint8 | np.uint16], transparent_grey: int | None) -> Pixels:
    """Decoded pixels of any kind as 8-bit BGR; what has four channels is composited in its own memory, a band at a time."""
    if image.ndim == 2:
        shown = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.astype(np.uint8, copy=False)
        if transparent_grey is not None:
            shown[image == transparent_grey] = 255
        return np.asarray(cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR), np.uint8)
    height, width, channels = image.shape
    if image.dtype == np.uint8 and channels == 3:
        return image.astype(np.uint8, copy=False)
    # A band's three bytes a pixel never reach the bands that are still to be read, which have four or more.
    image = np.require(image, requirements=("C", "W"))
    opaque: Pixels = image.reshape(-1).view(np.uint8)[: height * width * 3].reshape(height, width, 3)
    shift = 8 if image.dtype == np.uint16 else 0
    for top in range(0, height, _BAND):
        opaque[top : top + _BAND] = _over_white(np.right_shift(image[top : top + _BAND], shift, dtype=np.uint16))
    return opaque


def _over_white(band: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Values of 0 to 255, with or without alpha, over white."""
    if band.shape[2] == 3:
        return band
    alpha = band[..., 3:]
    return (band[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
