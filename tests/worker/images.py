"""Images for tests, made with Pillow, so that the code under test does not judge itself."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quadrants(width: int = 64, height: int = 32) -> Image.Image:
    """Red, green / blue, white: every rotation, mirroring, swap of channels and crop of it shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = WHITE
    return Image.fromarray(pixels)


def scene(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Smooth blotches of colour: compresses like a photo does."""
    blotches = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    return Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0, **options}
    if kind == "WEBP":
        options = {"lossless": True, **options}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_thumbnail(width: int = 64, height: int = 48) -> bytes:
    """A JPEG whose EXIF block holds a whole JPEG of its own, end-of-image marker and all."""
    thumbnail = encoded(scene(16, 12))
    exif = Image.Exif()
    exif[0x010E] = "as cameras write it"
    block = exif.tobytes() + thumbnail
    return encoded(scene(width, height), exif=block)


def huge_png(side: int) -> bytes:
    """A valid one-bit PNG of side x side pixels, all black: little on disk, much in memory."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    data = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flipped(data: bytes, seed: int) -> bytes:
    """The bytes with one to eight bits of them the other way round, the first twenty bytes excepted."""
    generator = np.random.default_rng(seed)
    mutant = bytearray(data)
    for slot in generator.integers(20, len(data), generator.integers(1, 9)):
        mutant[slot] ^= 1 << generator.integers(0, 8)
    return bytes(mutant)
