"""What the capture process and a reader process say to each other: messages in, bytes for a pipe out, and back.

The request is one line of JSON (it holds the address, credentials included: that is why it is not an argument). Everything
back is a length, a JSON header and, for an image, the JPEG.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from framecap.capture.zones import Zone
from framecap.errors import SourceError

_LENGTHS = struct.Struct(">II")  # of the header, of the body
MAX_PIXELS = 100_000_000  # of an image that a source may have: no worker takes more by default
MAX_HEADER_BYTES = 1 << 16
MAX_BODY_BYTES = 1 << 28

EndReason = Literal["end", "unreadable", "unreachable", "refused", "lost", "incomplete"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a reader shall read, and how. `skip` is the last frame index that arrived before a restart, -1 at first."""

    kind: str
    address: str = field(repr=False)
    images: tuple[str, ...]
    fps: float | None
    every: int | None
    jpeg_quality: int
    max_size: int | None
    open_timeout: float
    read_timeout: float
    skip: int = -1
    zones: tuple[Zone, ...] = ()

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def decode(line: bytes) -> Request:
        values = json.loads(line)
        zones = tuple(tuple((x, y) for x, y in zone) for zone in values["zones"])
        return Request(**{**values, "images": tuple(values["images"]), "zones": zones})


@dataclass(frozen=True, slots=True)
class Ready:
    """The reader has loaded OpenCV and opens the source now."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The source answers. `recorded`: it has an end, and its frames have the time that their timestamps say."""

    recorded: bool


@dataclass(frozen=True, slots=True)
class GrabbedImage:
    """A kept frame. `at` in microseconds: into the recording, else since 1970 (the grab; an image file's change)."""

    index: int
    at: int
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Alive:
    """Frames are grabbed, though none was kept lately."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Images that the reader itself gave up: `undecodable` (one, with its index), or `stale` (had waited in a buffer).

    `text` says what is wrong with an undecodable one, where that is known.
    """

    reason: str
    count: int
    index: int = -1
    text: str = ""


@dataclass(frozen=True, slots=True)
class LogNote:
    """Something the user should know once."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message: why the reader stops. `text` holds no address."""

    reason: EndReason
    text: str = ""


Message = Ready | Opened | GrabbedImage | Alive | Dropped | LogNote | Ended
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Ready, Opened, GrabbedImage, Alive, Dropped, LogNote, Ended)
}


def encode(message: Message) -> bytes:
    """The bytes of one message."""
    body = message.jpeg if isinstance(message, GrabbedImage) else b""
    values: dict[str, Any] = {name: getattr(message, name) for name in type(message).__slots__ if name != "jpeg"}
    header = json.dumps([type(message).__name__, values]).encode()
    return _LENGTHS.pack(len(header), len(body)) + header + body


class MessageDecoder:
    """Bytes as they come from the pipe in, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Message | None:
        """The next message, or None when more bytes are needed. Raises SourceError for what no reader sends."""
        if len(self._buffer) < _LENGTHS.size:
            return None
        header_length, body_length = _LENGTHS.unpack_from(self._buffer)
        if header_length > MAX_HEADER_BYTES or body_length > MAX_BODY_BYTES:
            raise SourceError(f"the reader sent a message of {header_length} + {body_length} bytes: it is broken")
        body_begin = _LENGTHS.size + header_length
        end = body_begin + body_length
        if len(self._buffer) < end:
            return None
        name, values = json.loads(self._buffer[_LENGTHS.size : body_begin])
        if name == "GrabbedImage":
            values["jpeg"] = bytes(self._buffer[body_begin:end])
        del self._buffer[:end]
        return _KINDS[name](**values)
