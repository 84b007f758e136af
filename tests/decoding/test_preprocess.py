"""Images of every kind, whole and broken: what pixels come out, and what is refused."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from framecap.decoding import decode as decode_module
from framecap.decoding.decode import Pixels
from framecap.decoding.image_header import read_header
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import DecodeError, EmptyFrame, OversizedFrame, TruncatedFrame, UndecodableFrame
from tests.worker.images import BLUE, GREEN, RED, WHITE, encoded, flipped, huge_png, quadrants, scene, with_thumbnail

LIMIT = 100_000_000
SIZE = 32


def pixels_of(data: bytes, size: int = SIZE) -> Pixels:
    return decode(data, Preprocessing(size), LIMIT).pixels


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    """The middles of the four quadrants: top left, top right, bottom left, bottom right."""
    quarter = len(pixels) // 4
    addresses = [(y, x) for y in (quarter, 3 * quarter) for x in (quarter, 3 * quarter)]
    return [tuple(int(value) for value in pixels[address]) for address in addresses]


def near(seen: list[tuple[int, ...]], golden: list[tuple[int, ...]], tolerance: int = 3) -> bool:
    return bool(np.abs(np.array(seen) - np.array(golden)).max() <= tolerance)


@pytest.mark.faults(13)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_wide_image_is_resized_square_to_rgb(kind: str) -> None:
    image_file = decode(encoded(quadrants(96, 48), kind), Preprocessing(SIZE), LIMIT)
    assert image_file.pixels.shape == (SIZE, SIZE, 3)
    assert (image_file.width, image_file.height) == (96, 48)
    assert near(corners(image_file.pixels), [RED, GREEN, BLUE, WHITE])


def test_the_golden_pixels_tell_a_swap_and_a_crop_from_a_square_resize() -> None:
    wide = Image.new("RGB", (96, 32), GREEN)
    wide.paste(RED, (0, 0, 24, 32))
    wide.paste(BLUE, (72, 0, 96, 32))
    golden = [RED, BLUE, RED, BLUE]
    resized_square = pixels_of(encoded(wide, "PNG"))
    swapped = resized_square[..., ::-1]
    cropped = pixels_of(encoded(wide.crop((32, 0, 64, 32)), "PNG"))
    columns = np.ix_([8, 24], [2, 29])
    assert [tuple(row) for row in resized_square[columns].reshape(-1, 3)] == golden
    assert [tuple(row) for row in swapped[columns].reshape(-1, 3)] != golden
    assert [tuple(row) for row in cropped[columns].reshape(-1, 3)] != golden


def test_a_jpeg_of_the_right_size_is_not_resized() -> None:
    data = encoded(scene(224, 224))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(pixels_of(data, 224), cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


@pytest.mark.faults(13)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quadrants(), kind, exif=exif)
    upright = ImageOps.exif_transpose(quadrants_with(exif))
    image_file = decode(data, Preprocessing(SIZE), LIMIT)
    assert (image_file.width, image_file.height) == upright.size
    assert np.abs(image_file.pixels.astype(int) - pixels_of(encoded(upright, "PNG"))).max() <= 3


def quadrants_with(exif: Image.Exif) -> Image.Image:
    image = quadrants()
    image.getexif()[0x0112] = exif[0x0112]
    return image


@pytest.mark.faults(13)
def test_rotation_holds_for_reduced_and_for_transparent_images() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encoded(quadrants(512, 256), exif=exif), encoded(quadrants().convert("RGBA"), "PNG", exif=exif)):
        assert near(corners(pixels_of(data)), [BLUE, RED, WHITE, GREEN])


@pytest.mark.faults(13)
def test_grey_is_rgb() -> None:
    for kind in ("JPEG", "PNG"):
        grey = quadrants().convert("L")
        golden = [(76,) * 3, (150,) * 3, (29,) * 3, (255,) * 3]
        assert near(corners(pixels_of(encoded(grey, kind))), golden)


@pytest.mark.faults(13)
def test_adobes_cmyk_is_the_rgb_that_people_see() -> None:
    data = encoded(quadrants().convert("CMYK"))
    assert b"Adobe" in data
    assert near(corners(pixels_of(data)), [RED, GREEN, BLUE, WHITE])


@pytest.mark.faults(13)
def test_sixteen_bits_become_their_upper_eight() -> None:
    colours = np.arange(SIZE * SIZE * 3, dtype=np.uint32).reshape(SIZE, SIZE, 3) * 21 % 65536
    deep = colours.astype(np.uint16)
    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    assert np.array_equal(pixels_of(data), (deep >> 8).astype(np.uint8))
    grey = cv2.imencode(".png", deep[..., 0])[1].tobytes()
    assert np.array_equal(pixels_of(grey), np.repeat((deep[..., :1] >> 8).astype(np.uint8), 3, axis=2))


@pytest.mark.faults(13)
def test_transparency_is_laid_over_white() -> None:
    half = quadrants(64, 300).convert("RGBA")
    half.putalpha(128)
    golden = [(255, 127, 127), (127, 255, 127), (127, 127, 255), (255, 255, 255)]
    for kind in ("PNG", "WEBP"):
        assert near(corners(pixels_of(encoded(half, kind))), golden)
    cut_out = encoded(quadrants(), "PNG", transparency=RED)
    assert near(corners(pixels_of(cut_out)), [WHITE, GREEN, BLUE, WHITE])
    deep = np.full((SIZE, SIZE, 4), (0x40FF, 0x20FF, 0x80FF, 0x80FF), np.uint16)
    assert near(corners(pixels_of(cv2.imencode(".png", deep)[1].tobytes())), [(191, 143, 159)] * 4, tolerance=1)


def test_a_reduced_image_is_decoded_only_where_enough_of_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[int] = []
    imdecode = cv2.imdecode
    monkeypatch.setattr(decode_module.cv2, "imdecode", lambda data, flag: flags.append(flag) or imdecode(data, flag))
    for side in (223, 447, 448, 896, 1792):
        pixels_of(encoded(Image.new("RGB", (side, side))), 224)
    color = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    reduced = [flag & ~cv2.IMREAD_IGNORE_ORIENTATION for flag in flags]
    assert flags[0] == color
    assert reduced == [
        cv2.IMREAD_COLOR,
        cv2.IMREAD_COLOR,
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_REDUCED_COLOR_8,
    ]


def test_a_reduced_image_looks_the_same() -> None:
    image = scene(900, 450)  # halved to a side that is one pixel longer than the model's
    difference = np.abs(pixels_of(encoded(image), 224).astype(int) - pixels_of(encoded(image, "PNG"), 224))
    assert difference.mean() < 2


def test_fine_detail_is_averaged_not_picked() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 255], [255, 0]], np.uint8), (SIZE * 2, SIZE * 2))).convert("RGB")
    assert np.abs(pixels_of(encoded(stripes, "PNG")).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (32, 31)])
def test_small_and_narrow_images_fill_the_square(size: tuple[int, int]) -> None:
    assert np.array_equal(pixels_of(encoded(Image.new("RGB", size, RED), "PNG")), np.full((SIZE, SIZE, 3), RED))


@pytest.mark.faults(9)
@pytest.mark.parametrize(
    "data",
    [
        encoded(scene()),
        encoded(scene(), progressive=True),
        with_thumbnail(),
        encoded(scene(64, 48), "PNG"),
        encoded(scene(64, 48), "WEBP"),
        encoded(scene(64, 48), "WEBP", lossless=False, exif=b"Exif\0\0MM"),
    ],
    ids=["JPEG", "progressive JPEG", "JPEG with a thumbnail", "PNG", "WebP", "lossy WebP with EXIF"],
)
def test_an_image_without_its_end_is_truncated(data: bytes) -> None:
    for percent in range(100):
        cut = max(1, len(data) * percent // 100)
        with pytest.raises(TruncatedFrame):
            pixels_of(data[:cut])
    assert pixels_of(data).any()


def test_no_cut_of_a_jpeg_with_a_thumbnail_passes_as_whole() -> None:
    data = with_thumbnail(32, 24)
    assert data.count(b"\xff\xd9") == 2
    for cut in range(1, len(data) - 1):
        with pytest.raises(TruncatedFrame):
            pixels_of(data[:cut])


def test_what_follows_the_end_of_an_image_does_no_harm() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        assert near(corners(pixels_of(encoded(quadrants(), kind) + b"\0" * 100)), [RED, GREEN, BLUE, WHITE])


def test_space_that_was_reserved_and_is_not_written_yet_is_truncated() -> None:
    data = encoded(scene(64, 48))
    for reserved in (bytes(1000), data[: len(data) // 2] + bytes(len(data) - len(data) // 2)):
        with pytest.raises(TruncatedFrame):
            pixels_of(reserved)


@pytest.mark.faults(12)
def test_a_huge_image_is_refused_before_anything_decodes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(OversizedFrame, match="60000x60000"):
        pixels_of(huge_png(1)[:16] + (60_000).to_bytes(4, "big") * 2 + huge_png(1)[24:])
    with pytest.raises(OversizedFrame, match="max_pixels allows \\(2047\\)"):
        decode(encoded(quadrants(64, 32)), Preprocessing(SIZE), 64 * 32 - 1)


@pytest.mark.faults(11)
def test_no_bytes_and_no_image() -> None:
    with pytest.raises(EmptyFrame):
        pixels_of(b"")
    for data in (b"<html><body>404</body></html>", b"GIF89a" + bytes(50), b"RIFF\x10\0\0\0WAVEfmt ", b"\xff\xd8\xff\xd9"):
        with pytest.raises(UndecodableFrame):
            pixels_of(data)


def test_a_whole_frame_of_a_header_only_is_undecodable() -> None:
    data = encoded(scene(64, 48), "PNG")
    with pytest.raises(UndecodableFrame):
        pixels_of(data[:33] + data[-12:])


@pytest.mark.faults(10)
@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    seed=st.integers(0, 2**32),
)
def test_a_flipped_image_is_decoded_or_refused(kind: str, seed: int) -> None:
    with contextlib.suppress(DecodeError):
        assert pixels_of(flipped(encoded(scene(64, 48), kind), seed)).shape == (SIZE, SIZE, 3)


@settings(max_examples=500, deadline=None)
@given(
    magic=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF"]),
    rest=st.binary(max_size=100),
)
def test_any_bytes_have_a_header_or_a_reason(magic: bytes, rest: bytes) -> None:
    try:
        header = read_header(magic + rest)
    except DecodeError:
        return
    assert header.width > 0
    assert header.height > 0
    assert header.orientation in range(1, 9)


def test_the_header_reader_needs_no_codec() -> None:
    code = "import sys, framecap.decoding.image_header; sys.exit('cv2' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1600, 900), (288, 512)), ((900, 1600), (512, 288)), ((300, 200), (200, 300)), ((9000, 3), (1, 512))],
)
def test_an_image_that_is_not_resized_square_keeps_its_proportions_and_is_not_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    seen = decode(encoded(scene(*size), quality=95), Preprocessing(512, square_resize=False), LIMIT)
    assert seen.pixels.shape == (*expected, 3)
    assert (seen.width, seen.height) == size


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        (b"broken\n", "it starts with 'broken'"),
        (b"<!doctype html>\n<html>", "it starts with '<!doctype html>'"),
        (b"GIF89a\x01\x00", "it starts with the bytes 47 49 46 38 39 61 01 00"),
        (b"\0\0", "it starts with the bytes 00 00"),
    ],
)
def test_what_is_no_image_is_shown_as_people_read_it(start: bytes, shown: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_header(start)
    assert str(caught.value).endswith(shown)
