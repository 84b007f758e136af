"""Image files written byte by byte, for headers that no library writes: every kind of PNG, and Exif blocks of any shape."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
ORIENTATION = 0x0112
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Samples = npt.NDArray[np.uint16]  # (height, width, channels)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: Samples, colour: int, depth: int, *, interlaced: bool = False, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of these samples; `before` and `after` are chunks on either side of the pixels."""
    height, width, _ = samples.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = png_chunk(b"IDAT", png_pixels(samples, depth, interlaced))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + body + after + png_chunk(b"IEND", b"")


def png_pixels(samples: Samples, depth: int, interlaced: bool = False) -> bytes:
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = [row for x, y, dx, dy in passes for row in samples[y::dy, x::dx] if row.size]
    return zlib.compress(b"".join(b"\0" + _packed(row, depth) for row in rows))


def _packed(row: Samples, depth: int) -> bytes:
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


@dataclass(frozen=True)
class Entry:
    """An entry of an Exif directory: tag, TIFF type, and numbers."""

    tag: int
    kind: int
    values: tuple[int, ...]


_LETTERS = {1: "B", 3: "H", 4: "I"}


def exif_block(entries: tuple[Entry, ...], order: str = "<") -> bytes:
    """A TIFF block of one directory, with what does not fit into its entries behind it; `order` is < or >."""
    directory = b""
    behind = b""
    end = 8 + 2 + 12 * len(entries) + 4
    for entry in entries:
        value = struct.pack(f"{order}{len(entry.values)}{_LETTERS[entry.kind]}", *entry.values)
        if len(value) > 4:
            value, behind = struct.pack(order + "I", end + len(behind)), behind + value
        directory += struct.pack(order + "HHI", entry.tag, entry.kind, len(entry.values)) + value.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(entries))
    return head + directory + bytes(4) + behind


def oriented(value: int, kind: int = 3, order: str = "<") -> bytes:
    return exif_block((Entry(ORIENTATION, kind, (value,)),), order)


def jpeg_with_exif(jpeg: bytes, *blocks: bytes) -> bytes:
    """The JPEG with each block in an Exif segment of its own."""
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block for block in blocks)
    return jpeg[:2] + segments + jpeg[2:]


def several_scans(jpeg: bytes) -> bytes:
    """The header of a baseline JPEG whose first scan has one of its components: the others come later."""
    position = jpeg.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", jpeg, position + 2)
    components = jpeg[position + 5 : position + 7]
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + components + jpeg[position + length - 1 : position + length + 2]
    return jpeg[:position] + scan + jpeg[position + length + 2 :]


def upright_by_pillow(data: bytes) -> tuple[int, Image.Image]:
    """The orientation that Pillow reads (it leaves a BYTE as bytes), and the image as stored."""
    image = Image.open(io.BytesIO(data))
    image.load()
    value = image.getexif().get(ORIENTATION, 1)
    if isinstance(value, bytes):
        value = value[0] if value else 1
    return (value if isinstance(value, int) and 1 <= value <= 8 else 1), image
