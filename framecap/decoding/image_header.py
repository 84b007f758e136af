"""The first look at an image: bytes in, its header out (format, size, orientation, whether its end is there), no decoding.

Plain Python over a few bytes, so that nothing hostile or unfinished reaches a decoder: JPEG (ITU-T T.81), PNG (W3C) and
WebP (RFC 9649), told apart by content, never by the file's name.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from framecap.errors import EmptyFrame, TruncatedFrame, UndecodableFrame

_JPEG_MAGIC = b"\xff\xd8"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXIF_MAGIC = b"Exif\0\0"

_ORIENTATION, _TIFF_VERSION = 0x0112, 42
_WHOLE_NUMBERS = {3: "H", 4: "I", 8: "h", 9: "i"}  # TIFF's types of numbers: SHORT, LONG, SSHORT, SLONG

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC lie among them
_WITHOUT_BODY = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, _START_OF_SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
# In a scan, 0xff is followed by 0 (stuffing), a restart marker, or the marker of what comes after the scan.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says of itself: size as stored (before rotation), EXIF orientation (1 to 8), transparency, its end."""

    format: Literal["jpeg", "png", "webp"]
    width: int
    height: int
    orientation: int
    alpha: bool
    whole: bool
    deep: bool = False  # 16 bits a sample
    transparent_grey: int | None = None  # the grey, as decoded, that is transparent (PNG), which OpenCV does not say

    @property
    def decoded_bytes(self) -> int:
        """Bytes that the decoded image takes as the codec gives it: 3 a pixel, with transparency 4, of 16 bits 8."""
        return self.width * self.height * ((8 if self.deep else 4) if self.alpha else 3)


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
    exif: bytes | None = None
    for marker, body, end in _jpeg_segments(data):
        position = end
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", body, 1)
        elif marker == _APP1 and body.startswith(_EXIF_MAGIC) and exif is None:  # the first one decides
            exif = body
    orientation = 1 if exif is None else _orientation(exif)
    return ImageHeader("jpeg", width, height, orientation, False, _jpeg_ends(data, position))


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
    deep = depth == 16
    alpha = colour in (4, 6)
    grey: int | None = None
    orientation = 1
    position = len(_PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind == b"IEND":
            return ImageHeader("png", width, height, orientation, alpha, position <= len(data), deep, grey)
        if kind == b"tRNS":
            alpha = True
            if colour == 0 and length == 2:
                (sample,) = struct.unpack_from(">H", data, position - 6)
                grey = sample if deep else sample * 255 // ((1 << depth) - 1)
        elif kind == b"eXIf":
            orientation = _orientation(data[position - 4 - length : position - 4])
    return ImageHeader("png", width, height, orientation, alpha, False, deep)


def _read_webp(data: bytes) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    whole = riff_size + 8 <= len(data)
    kind = data[12:16]
    alpha = False
    orientation = 1
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif kind == b"VP8X":
        alpha = bool(data[20] & 0x10)
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        if len(data) < 30:
            raise IndexError
        orientation = _webp_orientation(data)
    else:
        if len(data) < 16:
            raise IndexError
        raise UndecodableFrame(f"a WebP image of unknown kind {_readable(kind)}")
    return ImageHeader("webp", width, height, orientation, alpha, whole)


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1


def _orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block states; 1, upright, where it states none that makes sense."""
    tiff = exif.removeprefix(_EXIF_MAGIC)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or struct.unpack_from(order + "H", tiff.ljust(4, b"\0"), 2) != (_TIFF_VERSION,):
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            at = directory + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, at)
            if tag == _ORIENTATION:
                if kind not in _WHOLE_NUMBERS or count != 1:
                    return 1
                (value,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
