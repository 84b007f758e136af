"""The decoder process: images come in over a socket, pixels go out through shared memory and words over the socket.

Started by framecap.decoding.pool, one image at a time. It may crash or hang on an image: the parent kills it then.
Protocol: an image is its length (8 bytes, big endian) and its bytes; an answer is its length (4 bytes) and a JSON object.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from framecap.decoding.preprocess import Pixels, Preprocessing, decode
from framecap.errors import DecodeError

IMAGE_LENGTH = struct.Struct(">Q")
ANSWER_LENGTH = struct.Struct(">I")
_STANDARD_ERROR = 2
_BYTES_PER_PIXEL = 12  # the codec's own coefficients, the image, and what is made of it
_SPARE_BYTES = 256 << 20  # for the image's file, and the process itself
_MAX_COMPLAINTS = 4096  # bytes of what the codecs say about one image


def main(socket_number: int, memory_number: int, max_pixels: int, size: int, square_resize: int) -> None:
    """Serve until the parent closes its end, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent drains on these, and needs its decoders for that
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an image that kills it need not leave its memory on the disk
    _limit_memory(max_pixels)
    cv2.setNumThreads(1)  # as many decoders as cores are enough threads
    parent = socket.socket(fileno=socket_number)
    preprocessing = Preprocessing(size, bool(square_resize))
    threading.Thread(target=_end_with_parent, args=(parent,), name="parent watch", daemon=True).start()
    with mmap.mmap(memory_number, size * size * 3) as memory:
        _answer(parent, {"ready": True})
        while (data := _receive(parent)) is not None:
            _answer(parent, _work(data, preprocessing, max_pixels, memory))


def _limit_memory(max_pixels: int) -> None:
    """Bound what one image may take: an image that needs more is refused by its codec, and this process lives on."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped + _SPARE_BYTES + _BYTES_PER_PIXEL * max_pixels
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def perceptual_hash(pixels: Pixels) -> int:
    """64 bits that stay nearly the same for images that look the same: the signs of the lowest frequencies (pHash)."""
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _work(data: bytes, preprocessing: Preprocessing, max_pixels: int, memory: mmap.mmap) -> dict[str, Any]:
    try:
        image = decode(data, preprocessing, max_pixels)
    except DecodeError as error:
        _complaints()
        return {"kind": error.kind, "message": str(error)}
    memory[: image.pixels.nbytes] = image.pixels.tobytes()
    looks = perceptual_hash(image.pixels)
    shape = image.pixels.shape
    return {"shape": shape, "width": image.width, "height": image.height, "hash": looks, "warnings": _complaints()}


def _complaints() -> list[str]:
    """The lines that the codecs wrote to standard error (a memory file, see decoders) since the last time."""
    sys.stderr.flush()
    text = os.pread(_STANDARD_ERROR, _MAX_COMPLAINTS, 0)
    if not text:
        return []
    os.lseek(_STANDARD_ERROR, 0, os.SEEK_SET)
    os.ftruncate(_STANDARD_ERROR, 0)
    return [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]


def _end_with_parent(parent: socket.socket) -> None:
    """A parent that dies while an image hangs here closes the socket: nobody is left to kill this process then."""
    poll = select.poll()
    poll.register(parent, 0)  # hang-ups and errors are reported always
    poll.poll()
    os._exit(0)


def _receive(parent: socket.socket) -> bytes | None:
    header = parent.recv(IMAGE_LENGTH.size, socket.MSG_WAITALL)
    if len(header) < IMAGE_LENGTH.size:
        return None
    data = bytearray(IMAGE_LENGTH.unpack(header)[0])
    view = memoryview(data)
    while view:
        count = parent.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(data)


def _answer(parent: socket.socket, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    parent.sendall(ANSWER_LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
