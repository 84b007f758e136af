"""Video files whose every frame shows its own number, so that a stored frame can be asked which one it is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SIZE = (160, 96)  # width, height
_BITS = 12
_COLUMNS = 4

Image = npt.NDArray[np.uint8]


def numbered_image(number: int, size: tuple[int, int] = SIZE) -> Image:
    """An image that shows the number in black and white blocks."""
    bits = np.array([255 * (number >> bit & 1) for bit in range(_BITS)], np.uint8).reshape(-1, _COLUMNS)
    return cv2.cvtColor(cv2.resize(bits, size, interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)


def number_in(jpeg: bytes) -> int:
    """The number that a numbered image shows, whatever its size and quality."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    rows = _BITS // _COLUMNS
    height, width = image.shape
    centres = (
        image[(2 * row + 1) * height // (2 * rows), (2 * column + 1) * width // (2 * _COLUMNS)]
        for row in range(rows)
        for column in range(_COLUMNS)
    )
    return sum(1 << bit for bit, value in enumerate(centres) if value > 127)


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape[1], image.shape[0]


def make_video(path: Path, frames: int, fps: float = 10.0, codec: str = "MJPG", size: tuple[int, int] = SIZE) -> Path:
    """A video of numbered images."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(numbered_image(number, size))
    writer.release()
    return path


def make_uneven_video(path: Path, tenths: Sequence[int]) -> Path:
    """An MP4 whose frame n is shown `tenths[n]` tenths of a second after the start, `tenths[0]` being 0."""
    make_video(path, len(tenths), codec="mp4v")
    steps = [after - before for before, after in pairwise(tenths)] + [1]

    def uneven(stts: bytes) -> bytes:  # ISO/IEC 14496-12, 8.6.1.2: frames and ticks of each run; here each frame is one
        ticks = int.from_bytes(stts[12:16])
        return stts[:4] + struct.pack(">I", len(steps)) + b"".join(struct.pack(">II", 1, step * ticks) for step in steps)

    def long(elst: bytes) -> bytes:  # 8.6.6: only what is within this duration is shown
        return elst[:8] + struct.pack(">I", 0x7FFFFFFF) + elst[12:]

    data = change_box(path.read_bytes(), ("moov", "trak", "mdia", "minf", "stbl", "stts"), uneven)
    path.write_bytes(change_box(data, ("moov", "trak", "edts", "elst"), long))
    return path


def set_creation_time(path: Path, seconds: int) -> Path:
    """Set the mvhd box's creation_time: seconds since 1904."""

    def created(mvhd: bytes) -> bytes:
        assert mvhd[0] == 0
        return mvhd[:4] + struct.pack(">I", seconds) + mvhd[8:]

    path.write_bytes(change_box(path.read_bytes(), ("moov", "mvhd"), created))
    return path


def change_box(data: bytes, names: tuple[str, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The boxes of an MP4 file, with the content of one changed."""
    if not names:
        return change(data)
    boxes, begin = [], 0
    while begin < len(data):
        size, name = struct.unpack_from(">I4s", data, begin)
        content = data[begin + 8 : begin + size]
        if name.decode() == names[0]:
            content = change_box(content, names[1:], change)
        boxes.append(struct.pack(">I4s", len(content) + 8, name) + content)
        begin += size
    return b"".join(boxes)


def make_raw_mjpeg(path: Path, images: Sequence[Image]) -> Path:
    """JPEGs one after the other: a stream without timestamps, and of any sizes."""
    path.write_bytes(b"".join(jpeg(image_file) for image_file in images))
    return path


def jpeg(image_file: Image) -> bytes:
    done, data = cv2.imencode(".jpg", image_file)
    assert done
    return data.tobytes()


def endless_jpeg(side: int = 8000, scans: int = 3000) -> bytes:
    """A valid progressive JPEG of half a megabyte that takes minutes to decode: thousands of scans that change nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    def huffman_table(number: int, symbol: int) -> bytes:
        """One code, of one bit: 0."""
        return segment(0xC4, bytes([number, 1, *[0] * 15, symbol]))

    def scan(first: int, last: int, low_bit: int, data: bytes) -> bytes:
        return segment(0xDA, bytes([1, 1, 0, first, last, low_bit])) + data

    blocks = (side // 8) ** 2
    runs = (blocks + 16383) // 16384  # a run of ended blocks is the code and 14 bits
    bits = "".join("0" + "0" * 14 for _ in range(runs))
    nothing = int(bits + "1" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8, "big")
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, bytes([0, *[1] * 64])),
            segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])),
            huffman_table(0x00, 0),
            huffman_table(0x10, 0xE0),
            scan(0, 0, 1, bytes(blocks // 8)),
            scan(1, 63, 1, nothing) * scans,
            b"\xff\xd9",
        ]
    )
