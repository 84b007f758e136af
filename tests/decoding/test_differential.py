"""Our decoding beside Pillow's: every kind of header that the formats allow shows the same image."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from framecap.decoding.decode import decode_whole
from framecap.decoding.image_header import read_header
from framecap.decoding.preprocess import Preprocessing, decode
from tests.decoding.image_files import (
    CHANNELS,
    DEPTHS,
    GREY,
    GREY_ALPHA,
    ORIENTATION,
    PALETTE,
    RGB,
    RGBA,
    Entry,
    Samples,
    exif_block,
    jpeg_with_exif,
    oriented,
    png,
    png_chunk,
    png_pixels,
    upright_by_pillow,
)
from tests.worker.images import encoded, scene

LIMIT = 1_000_000
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

pytestmark = pytest.mark.faults(13)


def by_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    """What Pillow shows: RGB, transparency over white, turned as Exif says."""
    orientation, image = upright_by_pillow(data)
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        shown = (deep >> 8).astype(np.uint8)
        if (transparent := image.info.get("transparency")) is not None:
            shown[deep == transparent] = 255
        image = Image.fromarray(shown)
    if image.mode == "L" and "transparency" in image.info and image.format == "PNG":
        # it spreads the samples of 2 and 4 bits over 0 to 255, but not the value that is compared with them
        image.info["transparency"] *= 255 // ((1 << data[24]) - 1)
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    return np.asarray(image)


def by_us(data: bytes) -> npt.NDArray[np.uint8]:
    return decode_whole(data, LIMIT)[..., ::-1]


def assert_the_same(data: bytes, tolerance: int = 1) -> None:
    ours, theirs = by_us(data), by_pillow(data)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance


def samples_of(colour: int, depth: int, width: int = 13, height: int = 11, seed: int = 0) -> Samples:
    shape = (height, width, CHANNELS[colour])
    return np.random.default_rng(seed).integers(0, 1 << depth, shape).astype(np.uint16)


def transparencies(colour: int, depth: int, samples: Samples) -> Iterator[bytes]:
    """No tRNS chunk, and every kind that the colour type can have."""
    yield b""
    if colour == GREY:
        yield png_chunk(b"tRNS", int(samples[0, 0, 0]).to_bytes(2, "big"))
    elif colour == RGB:
        yield png_chunk(b"tRNS", b"".join(int(value).to_bytes(2, "big") for value in samples[0, 0]))
    elif colour == PALETTE:
        count = 1 << depth
        yield png_chunk(b"tRNS", b"\0")
        yield png_chunk(b"tRNS", bytes(255 * index // count for index in range(count)))


PNG_KINDS = [(colour, depth) for colour in CHANNELS for depth in DEPTHS[colour]]


@pytest.mark.parametrize(("colour", "depth"), PNG_KINDS)
def test_every_kind_of_png(colour: int, depth: int) -> None:
    generator = np.random.default_rng(depth)
    palette = generator.integers(0, 256, 3 << depth, np.uint8).tobytes() if colour == PALETTE else b""
    before = png_chunk(b"PLTE", palette) if palette else b""
    samples = samples_of(colour, depth)
    for transparency, interlaced in product(transparencies(colour, depth, samples), (False, True)):
        if colour == RGB and depth == 16 and transparency:
            continue  # Pillow compares 8 bits of it: see below
        assert_the_same(png(samples, colour, depth, interlaced=interlaced, before=before + transparency))


def test_the_transparent_colour_of_16_bits_is_compared_in_full() -> None:
    """By the PNG specification; Pillow compares the upper 8 bits only."""
    samples = np.full((2, 2, 3), (0x1234, 0x5678, 0x9ABC), np.uint16)
    samples[0, 0, 2] += 1
    transparency = png_chunk(b"tRNS", samples[1, 1].astype(">u2").tobytes())
    shown = by_us(png(samples, RGB, 16, before=transparency))
    assert shown[0, 0].tolist() == [0x12, 0x56, 0x9A]
    assert shown[1, 1].tolist() == shown[0, 1].tolist() == [255, 255, 255]


def test_a_transparent_colour_that_no_pixel_has_changes_nothing() -> None:
    samples = samples_of(GREY, 4) % 8
    for value in (15, 0xFFFF):
        assert_the_same(png(samples, GREY, 4, before=png_chunk(b"tRNS", value.to_bytes(2, "big"))), tolerance=0)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_every_kind_of_jpeg(mode: str, progressive: bool, subsampling: int) -> None:
    data = encoded(scene(61, 43).convert(mode), progressive=progressive, subsampling=subsampling)
    for orientation in range(1, 9):
        assert_the_same(jpeg_with_exif(data, oriented(orientation)), tolerance=3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("exif", [b"", oriented(6), b"Exif\0\0" + oriented(8, 4, ">")])
def test_every_kind_of_webp(mode: str, lossless: bool, exif: bytes) -> None:
    image = scene(61, 43).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    # lossy colours are scaled up from half their size, in which decoders differ
    assert_the_same(encoded(image, "WEBP", lossless=lossless, exif=exif), tolerance=1 if lossless else 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_animated_webp_shows_its_first_frame(mode: str) -> None:
    images = [
        Image.new(mode, (40, 30), colour) for colour in ((200, 10, 20, 99)[: len(mode)], (10, 200, 20, 99)[: len(mode)])
    ]
    data = encoded(images[0], "WEBP", save_all=True, append_images=images[1:])
    assert read_header(data).animated
    assert_the_same(data)


@pytest.mark.parametrize("colour", [RGB, RGBA, GREY_ALPHA])
@pytest.mark.parametrize("first_is_hidden", [False, True])
def test_an_apng_shows_its_still_image(colour: int, first_is_hidden: bool) -> None:
    """That of viewers without animations: it is the first frame, unless it is kept out of the animation."""
    still, moving = samples_of(colour, 8, seed=1), samples_of(colour, 8, seed=2)
    height, width, _ = still.shape

    def control(number: int) -> bytes:
        frame = (number, width, height, 0, 0, 1, 10)
        fields = b"".join(value.to_bytes(4, "big") for value in frame[:5]) + b"\0\x01\0\x0a\0\0"
        return png_chunk(b"fcTL", fields)

    first = b"" if first_is_hidden else control(0)
    following = control(0 if first_is_hidden else 1)
    number = 1 if first_is_hidden else 2
    frame = png_chunk(b"fdAT", number.to_bytes(4, "big") + png_pixels(moving, 8))
    count = (1 if first_is_hidden else 2).to_bytes(4, "big")
    data = png(still, colour, 8, before=png_chunk(b"acTL", count + bytes(4)) + first, after=following + frame)
    assert read_header(data).animated
    assert_the_same(data)
    assert np.array_equal(by_us(data), by_us(png(still, colour, 8)))


JPEG = encoded(scene(6, 4))
TINY_PNG = samples_of(RGB, 8, 6, 4)
TINY_WEBP = Image.new("RGB", (6, 4))

kinds = st.sampled_from([1, 3, 4])  # BYTE, SHORT, LONG
orders = st.sampled_from("<>")


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(kinds)
    tag = draw(st.sampled_from([ORIENTATION, 0x0100, 0x010F, 0x0128, 0x0131, 0x8769]))
    most = {1: 255, 3: 9, 4: 9}[kind]
    return Entry(tag, kind, tuple(draw(st.lists(st.integers(0, most), min_size=0, max_size=3))))


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    found = draw(st.lists(entries(), max_size=4, unique_by=lambda entry: entry.tag))
    return exif_block(tuple(found), draw(orders))


def agrees(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about numbers where one is expected
        expected, _ = upright_by_pillow(data)
    assert read_header(data).orientation == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(blocks(), max_size=3))
def test_any_exif_of_a_jpeg_says_the_same_orientation(found: list[bytes]) -> None:
    agrees(jpeg_with_exif(JPEG, *found))


@settings(max_examples=100, deadline=None)
@given(blocks(), st.integers(6, 60))
def test_exif_that_goes_on_in_a_second_segment_says_the_same_orientation(block: bytes, cut: int) -> None:
    agrees(jpeg_with_exif(JPEG, block[:cut], block[cut:]))


@settings(max_examples=100, deadline=None)
@given(block=blocks(), prefix=st.sampled_from([b"", b"Exif\0\0"]), behind=st.booleans())
def test_any_exif_of_a_png_or_webp_says_the_same_orientation(block: bytes, prefix: bytes, behind: bool) -> None:
    chunk = png_chunk(b"eXIf", block)
    agrees(png(TINY_PNG, RGB, 8, before=b"" if behind else chunk, after=chunk if behind else b""))
    agrees(encoded(TINY_WEBP, "WEBP", exif=prefix + block))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_an_orientation_of_any_integer_type_turns_the_image(kind: int, order: str) -> None:
    data = jpeg_with_exif(JPEG, oriented(6, kind, order), exif_block((Entry(0x0128, 3, (2,)),), order))
    assert_the_same(data, tolerance=3)
    image = decode(data, Preprocessing(8), LIMIT)
    assert (image.width, image.height) == (4, 6)


def test_pillow_and_we_judge_the_same_bytes() -> None:
    """The comparison itself: an image that is turned, or whose hidden colours show, is not the same."""
    clear = np.zeros((4, 6, 4), np.uint16)
    data = png(clear, RGBA, 8)
    assert by_pillow(data).min() == by_us(data).min() == 255
    assert Image.open(io.BytesIO(data)).convert("RGB").getextrema() == ((0, 0),) * 3
