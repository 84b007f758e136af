"""The first look at an image: bytes in, its header out (format, size, orientation, whether its end is there), no decoding.

Plain Python over a few bytes, so that nothing hostile or unfinished reaches a decoder: JPEG (ITU-T T.81), PNG (W3C) and
WebP (RFC 9649), told apart by content, never by the file's name.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from framecap.decoding import exif
from framecap.errors import EmptyFrame, TruncatedFrame, UndecodableFrame

_JPEG_MAGIC = b"\xff\xd8"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_ALPHA = 0, (4, 6)  # colour types

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC lie among them
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_BODY = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, _START_OF_SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
# In a scan, 0xff is followed by 0 (stuffing), a restart marker, or the marker of what comes after the scan.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


# What decoding holds at once for each pixel: 8-bit RGB, once in OpenCV's memory and once in the array that it is copied to.
PLAIN_BYTES_PER_PIXEL = 6
ALPHA_BYTES_PER_PIXEL = 8  # the same of 8-bit RGBA


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says of itself: size as stored (before rotation), EXIF orientation (1 to 8), transparency, its end.

    `bytes_per_pixel` is the memory that decoding takes at most. `transparent_grey` is the one grey value, of 8 or 16 bits,
    that a PNG without an alpha channel declares transparent. `animated` is an APNG or a WebP of several frames.
    """

    format: Literal["jpeg", "png", "webp"]
    width: int
    height: int
    orientation: int
    alpha: bool
    whole: bool
    bytes_per_pixel: int = PLAIN_BYTES_PER_PIXEL
    transparent_grey: int | None = None
    animated: bool = False


def read_header(data: bytes) -> ImageHeader:
    """The header of a JPEG, PNG or WebP image.

    Raises EmptyFrame for no bytes, TruncatedFrame when they end before the size is known, else UndecodableFrame.
    """
    if not data:
        raise EmptyFrame("the file is empty: its writer has not finished, or died")
    try:
        if data.startswith(_JPEG_MAGIC):
            header = _read_jpeg(data)
        elif data.startswith(_PNG_MAGIC):
            header = _read_png(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _read_webp(data)
        else:
            raise _no_image(data)
    except (struct.error, IndexError):
        raise TruncatedFrame(f"the image breaks off in its header, after {len(data)} bytes") from None
    if not header.width or not header.height:
        raise UndecodableFrame(f"its header says {header.width}x{header.height} pixels")
    return header


def _no_image(data: bytes) -> Exception:
    start = data[:16]
    a_start = any(magic.startswith(data) for magic in (_JPEG_MAGIC, _PNG_MAGIC)) or (
        b"RIFF".startswith(data[:4]) and b"WEBP".startswith(data[8:12]) and len(data) < 12
    )
    if a_start or not any(start):  # a writer that reserves the space first leaves zeros
        return TruncatedFrame(f"no image yet: it starts with {_readable(start)}")
    return UndecodableFrame(f"not a JPEG, PNG or WebP image: it starts with {_readable(start)}")


def _readable(start: bytes) -> str:
    """Text as a line of it, anything else in hexadecimal."""
    text = " ".join(start.decode("latin-1").split())
    return f"'{text}'" if text.isascii() and text.isprintable() and text else f"the bytes {start.hex(' ')}"


def _read_jpeg(data: bytes) -> ImageHeader:
    width = height = position = 0
    frame = scan = b""
    blocks: list[bytes] = []
    progressive = False
    for marker, body, end in _jpeg_segments(data):
        position = end
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", body, 1)
            frame, progressive = body, marker in _PROGRESSIVE
        elif marker == _START_OF_SCAN:
            scan = body
        elif marker == _APP1 and body.startswith(exif.MAGIC):
            # a long block goes on in the next segment; a second block of its own is ignored, as Pillow does
            blocks.append(body[len(exif.MAGIC) :])
    several_scans = progressive or (frame and scan and scan[0] < frame[5])
    return ImageHeader(
        "jpeg",
        width,
        height,
        exif.read_orientation(b"".join(blocks)) if blocks else exif.UPRIGHT,
        False,
        _jpeg_ends(data, position),
        max(PLAIN_BYTES_PER_PIXEL, 3 + _coefficient_bytes(frame)) if several_scans else PLAIN_BYTES_PER_PIXEL,
    )


def _coefficient_bytes(frame: bytes) -> int:
    """Bytes of each pixel's coefficients, 16 bits a sample, which several scans of a JPEG fill in turn."""
    sampling = [(frame[at] >> 4, frame[at] & 15) for at in range(7, 6 + 3 * frame[5], 3)]
    most = max(across for across, _ in sampling) * max(down for _, down in sampling)
    if not most:
        raise UndecodableFrame("a JPEG whose sampling factors are zero")
    return math.ceil(2 * sum(across * down for across, down in sampling) / most)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, body and end of each segment, up to the start of the first scan: a thumbnail inside one is skipped whole."""
    position = len(_JPEG_MAGIC)
    marker = 0
    while marker != _START_OF_SCAN:
        position = data.find(b"\xff", position) + 1
        if position == 0:
            raise IndexError
        while (marker := data[position]) == 0xFF:
            position += 1
        position += 1
        if marker == _END_OF_IMAGE:
            raise UndecodableFrame("a JPEG without an image in it")
        if marker in _WITHOUT_BODY:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if position + length > len(data):
            raise IndexError
        yield marker, data[position + 2 : position + length], position + length
        position += max(length, 2)


def _jpeg_ends(data: bytes, position: int) -> bool:
    """Whether the end-of-image marker follows the first scan, which starts at `position`."""
    while match := _MARKER_IN_SCAN.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker == _END_OF_IMAGE:
            return True
        if marker in _BETWEEN_SCANS and position + 2 <= len(data):
            position += struct.unpack_from(">H", data, position)[0]
    return data.endswith(b"\xff\xd9")  # a damaged scan can hide its end from the walk


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        if len(data) < 16:
            raise IndexError
        raise UndecodableFrame("a PNG that does not begin with its header")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    alpha = colour in _PNG_ALPHA
    orientation = exif.UPRIGHT
    grey = None
    animated = whole = pixels_begin = False
    for kind, position, end in png_chunks(data):
        if kind == b"IEND":
            whole = end <= len(data)
        elif kind == b"IDAT":
            pixels_begin = True
        elif kind == b"tRNS" and colour == _PNG_GREY and not pixels_begin:
            grey = _transparent_grey(data[position : end - 4], depth)
        elif kind == b"tRNS":
            alpha = True
        elif kind == b"eXIf":
            orientation = exif.read_orientation(data[position : end - 4])
        elif kind == b"acTL":
            animated = True
    cost = (ALPHA_BYTES_PER_PIXEL if alpha else PLAIN_BYTES_PER_PIXEL) * (2 if alpha and depth == 16 else 1)
    return ImageHeader("png", width, height, orientation, alpha, whole, cost, grey, animated)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, where its body begins, and where the chunk ends (its checksum of 4 bytes included)."""
    position = len(_PNG_MAGIC)
    kind = b""
    while position + 12 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, position + 12 + length
        position += 12 + length


def _transparent_grey(body: bytes, depth: int) -> int | None:
    """The transparent value as the decoder hands it out: depths below 8 bits are spread over 0 to 255."""
    if len(body) != 2 or depth not in (1, 2, 4, 8, 16):
        return None
    value = int.from_bytes(body, "big") & ((1 << depth) - 1)
    return value * 255 // ((1 << depth) - 1) if depth < 8 else value


def _read_webp(data: bytes) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    whole = riff_size + 8 <= len(data)
    kind = data[12:16]
    alpha = animated = False
    orientation = exif.UPRIGHT
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif kind == b"VP8X":
        alpha, animated = bool(data[20] & 0x10), bool(data[20] & 0x02)
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        if len(data) < 30:
            raise IndexError
        orientation = _webp_orientation(data)
    else:
        if len(data) < 16:
            raise IndexError
        raise UndecodableFrame(f"a WebP image of unknown kind {_readable(kind)}")
    # an animation is drawn on a canvas of its own
    cost = 12 if animated else ALPHA_BYTES_PER_PIXEL if alpha else PLAIN_BYTES_PER_PIXEL
    return ImageHeader("webp", width, height, orientation, alpha, whole, cost, animated=animated)


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return exif.read_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return exif.UPRIGHT
