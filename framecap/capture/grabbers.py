"""What a reader process reads with: a request in, grabbed moments and their images out. Imported there only."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from framecap.capture.creation import from_mtime
from framecap.capture.protocol import MAX_PIXELS, Request
from framecap.capture.sampling import StreamClock, usual_rate
from framecap.capture.zones import Zone, blacken
from framecap.decoding.decode import decode_whole
from framecap.errors import OversizedFrame, UndecodableFrame

MAX_IMAGE_BYTES = 200_000_000
DRAIN_SECONDS = 3.0
MAX_STALE = 1000  # images

Image = npt.NDArray[np.uint8]  # (height, width, 3), BGR


@dataclass(frozen=True, slots=True)
class Moment:
    """One grabbed frame: `at` in microseconds as Image has it, `seconds` on the clock that sampling uses."""

    at: int
    seconds: float


class Grabber(Protocol):
    """A source that is open."""

    recorded: bool
    slack: float  # seconds, for the Sampler
    note: str  # what the user should know by now, or nothing
    pixels: float  # of each image, as far as it states them
    shortfall: str  # why what was read is not the whole recording, once it has ended; nothing where it is

    def grab(self) -> Moment | None:
        """Step to the next frame; None after the last one."""
        ...

    def retrieve(self) -> Image | None:
        """The frame that was grabbed last, or None when it cannot be decoded. Raises DecodeError where it is known why."""
        ...

    def drain(self) -> int:
        """Throw away what waited in a buffer; how many images that was."""
        ...


class ImageSequenceGrabber:
    """The files of an image sequence; each was kept by somebody, so its own time is all that is known of it."""

    recorded = True
    slack = 0.0
    note = ""
    shortfall = ""
    pixels = 0.0

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = iter(paths)
        self._path = Path()

    def grab(self) -> Moment | None:
        for path in self._paths:
            self._path = Path(path)
            try:
                modified = self._path.stat().st_mtime_ns
            except OSError:  # deleted meanwhile: an undecodable image of no time
                modified = 0
            at = from_mtime(modified)
            return Moment(round(at.timestamp() * 1_000_000), at.timestamp())
        return None

    def retrieve(self) -> Image | None:
        """Decoded as the worker decodes it: transparency, orientation and limits are the same."""
        try:
            if (size := self._path.stat().st_size) > MAX_IMAGE_BYTES:
                raise UndecodableFrame(f"its file has {size} bytes, more than {MAX_IMAGE_BYTES}")
            return decode_whole(self._path.read_bytes(), MAX_PIXELS)
        except OSError as error:
            raise UndecodableFrame(f"it cannot be read: {error.strerror}") from None
        except (MemoryError, OversizedFrame):
            raise OversizedFrame(f"it has more than {MAX_PIXELS} pixels, or takes as much memory as they do") from None

    def drain(self) -> int:
        return 0


class FileGrabber:
    """A video with an end: a file, or one that a web server sends."""

    recorded = True
    slack = 0.001  # timestamps in milliseconds are up to half of one too early, the first one as much too late
    note = ""
    shortfall = ""

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        self.pixels = _pixels(capture)
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._clock = StreamClock(fps)
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._stated = max(0.0, frames / usual_rate(fps))  # seconds; an estimate in many containers
        self._frames = 0
        self._read = 0.0  # seconds

    def grab(self) -> Moment | None:
        if not self._capture.grab():
            self.shortfall = self._shortfall()
            return None
        self._frames += 1
        seconds = self._clock.seconds(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        self._read = seconds
        if self._clock.repaired == 1 and self._frames > 1:
            self.note = "it lacks usable timestamps in places: its frame rate stands in for them there"
        return Moment(round(seconds * 1_000_000), seconds)

    def _shortfall(self) -> str:
        if not self._frames:
            return f"no frame of it could be decoded (codec {_codec(self._capture)})"
        if self._stated - self._read > max(2.0, 0.1 * self._stated):
            return (
                f"it ended after {self._read:.1f} of about {self._stated:.1f} s: it is probably cut short or damaged; "
                "what could be read is captured"
            )
        return ""

    def retrieve(self) -> Image | None:
        return _retrieve(self._capture)

    def drain(self) -> int:
        return 0


class LiveGrabber:
    """A camera or an endless stream: a frame's time is that of its grab."""

    recorded = False
    note = ""
    shortfall = ""

    def __init__(self, capture: Any, fps: float | None) -> None:
        self._capture = capture
        self.pixels = _pixels(capture)
        self._period = 1 / usual_rate(capture.get(cv2.CAP_PROP_FPS))
        self._fresh = False
        # Half a cell: frames of a network come early and late, and none should count for its neighbour's cell.
        self.slack = 0.5 / fps if fps else 0.0

    def grab(self) -> Moment | None:
        if not self._fresh and not self._capture.grab():
            return None
        self._fresh = False
        return Moment(time.time_ns() // 1000, time.monotonic())

    def retrieve(self) -> Image | None:
        return _retrieve(self._capture)

    def drain(self) -> int:
        """Grab until a grab has to wait for its frame about as long as a live one; that frame stays grabbed."""
        begin = before = time.monotonic()
        for stale in range(MAX_STALE):
            if not self._capture.grab():
                return stale
            now = time.monotonic()
            if now - before >= 0.5 * self._period or now - begin > DRAIN_SECONDS:
                self._fresh = True
                return stale
            before = now
        return MAX_STALE


def _pixels(capture: Any) -> float:
    return float(capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _retrieve(capture: Any) -> Image | None:
    try:
        found, image = capture.retrieve()
    except cv2.error:
        return None
    return _as_image(image) if found else None


def _codec(capture: Any) -> str:
    """The four characters that name a video's codec, such as av01 or h264."""
    number = int(capture.get(cv2.CAP_PROP_FOURCC))
    text = number.to_bytes(4, "little", signed=False).decode("latin-1").strip("\0 ") if number > 0 else ""
    return text.lower() if text.isprintable() and text else "unknown"


def _as_image(image: Any) -> Image | None:
    return image if image is not None and image.size else None


def open_grabber(request: Request) -> Grabber | None:
    """The source of the request, opened; None when OpenCV cannot."""
    if request.kind == "images":
        return ImageSequenceGrabber(request.images)
    if request.kind == "device":
        capture = cv2.VideoCapture(request.address, cv2.CAP_V4L2)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return LiveGrabber(capture, request.fps) if capture.isOpened() else None
    capture = cv2.VideoCapture(
        request.address,
        cv2.CAP_FFMPEG,  # named: another backend would ignore the time-outs in silence
        [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            math.ceil(request.open_timeout * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            math.ceil(request.read_timeout * 1000),
        ],
    )
    if not capture.isOpened():
        return None
    if request.kind == "video" or _has_an_end(request.address, capture):
        return FileGrabber(capture)
    return LiveGrabber(capture, request.fps)


def _has_an_end(address: str, capture: Any) -> bool:
    """Whether a web address is a recording: its container states a length."""
    return address.lower().startswith("http") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0


def encode_jpeg(image: Image, quality: int, max_size: int | None, zones: Sequence[Zone]) -> bytes | None:
    """The image as JPEG, black in the zones, its longest side at most `max_size` pixels; None when it cannot be one.

    Every frame comes this way, images of a folder too: nothing of a file that is not in its masked pixels (a thumbnail,
    the place where it was taken) comes with them.
    """
    image = blacken(image, zones)  # before anything spreads a pixel over its neighbours
    height, width = image.shape[:2]
    scale = 1.0 if max_size is None else min(1.0, max_size / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    try:
        scaled = image if scale == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:  # a side of more than 65,500 pixels
        return None
    return data.tobytes() if done else None
