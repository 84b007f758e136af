"""Frame keys: a camera, a time and a sequence number make a key; a key gives its camera, time and sidecar key. No I/O.

A key is the path of a frame below the store's root, with `/` between its parts. Keys that framecap's own capture makes are
`<camera>/<YYYY>/<MM>/<DD>/<HH>/<camera>-<UTC, microseconds>-<sequence>.jpg`, so that the keys of one camera sort by time.
Keys from elsewhere (foreign keys) are taken as they are.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from framecap.errors import KeyRefused

MAX_SIDECAR_BYTES = 1 << 20  # a reader refuses more: no caption is that long

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
UNFINISHED_SUFFIXES = (".tmp", ".part")
SIDECAR_SUFFIX = ".json"
UNSORTED = "unsorted"  # the camera of a frame that lies directly in the store's root
MAX_KEY_BYTES = 1024  # S3's limit
MAX_NAME_BYTES = 255 - len(SIDECAR_SUFFIX)  # a directory entry's limit, with room for the sidecar's suffix

_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OWN_KEY = re.compile(
    r"(?P<camera>[A-Za-z0-9][A-Za-z0-9._-]{0,63})/(?P<hour>\d{4}/\d{2}/\d{2}/\d{2})/"
    r"(?P=camera)-(?P<time>\d{8}T\d{6}\.\d{6})Z-(?P<sequence>\d{8,18})\.jpg"
)
_TIME_FORMAT = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class FrameName:
    """What an own key says: the camera, when the frame was captured (UTC), its number in the capture run."""

    camera: str
    captured_at: datetime
    sequence: int


def camera_name(text: str) -> str:
    """Any text (a file's stem, a user's word) as a camera name: letters, digits, `.`, `_` and `-`, 64 at most."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64]
    return name or "camera"


def make_key(name: FrameName) -> str:
    """The key of a frame. Raises KeyRefused for a camera name that `camera_name` would change, or a time without a zone."""
    if not _CAMERA.fullmatch(name.camera):
        raise KeyRefused(
            f"camera name {name.camera!r}: use 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first"
        )
    if name.captured_at.tzinfo is None:
        raise KeyRefused(f"the time of a frame needs a time zone, got {name.captured_at!r}")
    at = name.captured_at.astimezone(UTC)
    return f"{hour_prefix(name.camera, at)}{name.camera}-{at.strftime(_TIME_FORMAT)}Z-{name.sequence:08d}.jpg"


def hour_prefix(camera: str, at: datetime) -> str:
    """The folder (with its final `/`) in which a camera's frames of that hour lie."""
    return f"{camera}/{at.astimezone(UTC):%Y/%m/%d/%H}/"


def parse_key(key: str) -> FrameName | None:
    """What an own key says, or None for a foreign key."""
    match = _OWN_KEY.fullmatch(key)
    if match is None:
        return None
    try:
        at = datetime.strptime(match["time"], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:  # 20261399T…: shaped like an own key, but no time
        return None
    if hour_prefix(match["camera"], at) != f"{match['camera']}/{match['hour']}/":
        return None
    return FrameName(match["camera"], at, int(match["sequence"]))


def low_watermark(key: str, lookback: timedelta) -> str | None:
    """The key below which nothing new of this own key's camera is expected; None for a foreign key."""
    name = parse_key(key)
    if name is None:
        return None
    at = name.captured_at - lookback
    return f"{hour_prefix(name.camera, at)}{name.camera}-{at.strftime(_TIME_FORMAT)}Z-"


def camera_of(key: str) -> str:
    """The camera of any key: the first folder, `unsorted` where there is none."""
    first, slash, _ = key.partition("/")
    return first if slash else UNSORTED


def is_frame_key(key: str) -> bool:
    """Whether a key names a frame: an image's suffix (in any case), no part hidden, not unfinished."""
    name = key.rpartition("/")[2].lower()
    return name.endswith(FRAME_SUFFIXES) and not any(part.startswith(".") for part in key.split("/"))


def sidecar_key(frame_key: str) -> str:
    """`a.jpg` → `a.jpg.json`: two images never fight over one sidecar."""
    return frame_key + SIDECAR_SUFFIX


def frame_key_of(sidecar: str) -> str | None:
    """The frame that a sidecar's key belongs to, or None when the key is no sidecar's."""
    frame = sidecar.removesuffix(SIDECAR_SUFFIX)
    return frame if frame != sidecar and is_frame_key(frame) else None


def check_key(key: str) -> str:
    """The key itself, when it names a frame that stays inside the store; else KeyRefused.

    Refused: absolute keys, `.` and `..` parts, empty parts, control characters, bytes that are not UTF-8, names too long
    for their sidecar to exist beside them. The message shows the key escaped.
    """
    problem = _problem(key)
    if problem:
        raise KeyRefused(f"key {key[:200]!r}: {problem}")
    return key


def _problem(key: str) -> str | None:
    try:
        encoded = key.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8: rename the file"
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it is no plain path below the store"
    if any(unicodedata.category(character) == "Cc" for character in key):
        return "it holds control characters: rename the file"
    if len(encoded) > MAX_KEY_BYTES - len(SIDECAR_SUFFIX) or len(encoded.rpartition(b"/")[2]) > MAX_NAME_BYTES:
        return "it is too long for a sidecar beside it: shorten it"
    if not is_frame_key(key):
        return f"not a frame: frames end in {', '.join(FRAME_SUFFIXES)} and are not hidden"
    return None


# A frame of a video says where in it it was taken: a JPEG comment segment (COM, ITU-T T.81 B.2.4.5) right after the start
# of the image holds `framecap position=<seconds>`, and goes wherever the frame goes.
_COMMENT = b"\xff\xfe"
_START_OF_IMAGE = b"\xff\xd8"
_POSITION = re.compile(rb"framecap position=(\d{1,9}(?:\.\d{1,9})?)")


def embed_position(jpeg: bytes, position: float) -> bytes:
    """The JPEG with its position in the source (seconds from its start) in a comment segment."""
    text = b"framecap position=%.6f" % position
    return _START_OF_IMAGE + _COMMENT + struct.pack(">H", len(text) + 2) + text + jpeg[2:]


def read_position(data: bytes) -> float | None:
    """The position in the source that `embed_position` put there, or None."""
    if not data.startswith(_START_OF_IMAGE + _COMMENT):
        return None
    match = _POSITION.fullmatch(data[6 : 4 + int.from_bytes(data[4:6])])
    return float(match[1]) if match else None
