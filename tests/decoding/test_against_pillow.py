"""The one decoder beside Pillow, over generated headers: orientation, transparency, colour types and bit depths."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from framecap.decoding.image_header import read_header
from framecap.decoding.preprocess import decode_whole
from framecap.errors import DecodeError, OversizedFrame

WIDTH, HEIGHT = 32, 24
SHORT, LONG = 3, 4


def pattern(mode: str) -> Image.Image:
    """An image whose four quarters differ, so that every turn of it is another image."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[: HEIGHT // 2, : WIDTH // 2, 0] = 220
    rgba[HEIGHT // 2 :, : WIDTH // 2, 1] = 220
    rgba[HEIGHT // 2 :, WIDTH // 2 :, :3] = 220
    if mode in ("RGBA", "LA"):
        rgba[: HEIGHT // 2, WIDTH // 2 :, 3] = 0
        rgba[: HEIGHT // 2, WIDTH // 2 :, :3] = (9, 200, 77)  # what transparency hides
    return Image.fromarray(rgba).convert(mode)


def as_shown(data: bytes) -> np.ndarray:
    """What Pillow shows, over white: (height, width, 3) RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def assert_like_pillow(data: bytes, tolerance: int = 2) -> None:
    ours = cv2.cvtColor(decode_whole(data, 1 << 20), cv2.COLOR_BGR2RGB).astype(int)
    theirs = as_shown(data).astype(int)
    assert ours.shape == theirs.shape
    inner = np.s_[4:-4:5, 4:-4:5]  # away from edges, where codecs differ by a little
    assert np.abs(ours[inner] - theirs[inner]).max() <= tolerance


def exif(entries: list[tuple[int, int, int, int]], order: str) -> bytes:
    """A TIFF block of one directory; entries of tag, type, count and value."""
    packed = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count) + struct.pack(f"{order}{'H2x' if kind == SHORT else 'I'}", value)
        for tag, kind, count, value in entries
    )
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIH", 42, 8, len(entries)) + packed + struct.pack(f"{order}I", 0)


def jpeg(*blocks: bytes, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    pattern(mode).save(file, "JPEG", quality=95, subsampling=0)
    plain = file.getvalue()
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block for block in blocks)
    return plain[:2] + segments + plain[2:]


ENTRIES = st.lists(
    st.tuples(st.sampled_from([0x0112, 0x0128, 0x011A]), st.sampled_from([SHORT, LONG]), st.just(1), st.integers(0, 9)),
    max_size=3,
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(ENTRIES, st.sampled_from("<>")), max_size=2))
def test_exif_of_a_jpeg_turns_it_as_pillow_does(blocks: list[tuple[list[tuple[int, int, int, int]], str]]) -> None:
    assert_like_pillow(jpeg(*(exif(sorted(entries), order) for entries, order in blocks)), tolerance=12)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_jpeg(mode: str, orientation: int) -> None:
    assert_like_pillow(jpeg(exif([(0x0112, SHORT, 1, orientation)], ">"), mode=mode), tolerance=12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_png_of_every_mode_and_orientation(mode: str, orientation: int) -> None:
    file = io.BytesIO()
    meta = Image.Exif()
    meta[0x0112] = orientation
    pattern(mode).save(file, "PNG", exif=meta)
    assert_like_pillow(file.getvalue())


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_png_with_a_transparent_colour(mode: str) -> None:
    file = io.BytesIO()
    image = pattern("RGB" if mode == "RGB" else "L" if mode == "L" else "P")
    transparent = image.getpixel((2, 2))
    image.save(file, "PNG", transparency=transparent)
    assert_like_pillow(file.getvalue())


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_webp_of_both_kinds_and_orientations(mode: str, lossless: bool, orientation: int) -> None:
    file = io.BytesIO()
    meta = Image.Exif()
    meta[0x0112] = orientation
    pattern(mode).save(file, "WEBP", lossless=lossless, quality=95, exif=meta)
    assert_like_pillow(file.getvalue(), tolerance=12)


def png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A PNG of zeros: small as a file, as large as its header says when decoded."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" * (1 + width * samples * depth // 8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.faults(12)
@pytest.mark.parametrize(("depth", "colour", "accepted"), [(8, 2, True), (8, 6, True), (16, 2, True), (16, 6, False)])
def test_memory_counts_against_the_pixel_limit(depth: int, colour: int, accepted: bool) -> None:
    data = png(1000, 100, depth, colour)
    assert read_header(data).decoded_bytes == 100_000 * (3 if colour == 2 else depth // 2)
    if accepted:
        assert decode_whole(data, 100_000).shape == (100, 1000, 3)
    else:
        with pytest.raises(OversizedFrame, match="of 16 bits"):
            decode_whole(data, 100_000)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 400))
def test_damaged_headers_are_refused_and_nothing_else(noise: bytes, at: int) -> None:
    data = jpeg(exif([(0x0112, LONG, 1, 6)], "<"))
    damaged = data[:at] + noise + data[at + len(noise) :]
    with contextlib.suppress(DecodeError):
        assert decode_whole(damaged, 1 << 20).shape[2] == 3
