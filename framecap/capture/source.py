"""What the user wrote as a source in; its kind, its default camera name and an address that can be shown out."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import unquote

from framecap.errors import ConfigError, SourceNotFound
from framecap.frames import FRAME_SUFFIXES, camera_name, is_frame_key
from framecap.telemetry import MASK, mask

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https")

SHORTEST_SECRET = 4  # of what is replaced wherever it stands; shorter ones go with the whole address

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z]+)://"
    r"(?:(?P<userinfo>[^/?#]*)@)?"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:\d{1,5})?"
    r"(?P<path>/[^?#@]*)?(?P<query>\?[^#@]*)?(?P<fragment>#[^@]*)?"
)
_NOT_PLAIN = re.compile(r"[\s\x00-\x1f\x7f\"'<>]")
_DEVICE = re.compile(r"/dev/(?!shm/)[^%\0]+")  # what is missing there is a camera; /dev/shm holds files
_NUMBER_IN_NAME = re.compile(r"%(?:0(?P<width>\d{1,2}))?d")


class SourceKind(Enum):
    VIDEO = "video"
    IMAGES = "images"
    DEVICE = "device"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Source:
    """A source that was found, or can be tried. `address` may hold credentials: only the reader process gets it.

    `shown` is for logs and messages. `images` are the files of an image sequence in their order.
    """

    kind: SourceKind
    address: str = field(repr=False)
    shown: str
    default_name: str
    images: tuple[str, ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def live(self) -> bool:
        """Whether it goes on without us: its frames have the time of their grab, and a loss of it is waited out."""
        return self.kind in (SourceKind.DEVICE, SourceKind.STREAM)

    @property
    def unplugged(self) -> bool:
        """Whether it is a camera of this machine that is not there now."""
        return self.kind is SourceKind.DEVICE and not Path(self.address).exists()

    def scrub(self, text: str) -> str:
        """Text of other programs (they print addresses) without this source's credentials."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return mask(text)


def parse_source(text: str, may_be_unplugged: bool = False) -> Source:
    """What a source text is. Raises SourceNotFound for what is not there, ConfigError for what cannot be a source.

    `may_be_unplugged`: a camera of this machine that is not there is a source all the same, which can be tried until it is.
    """
    scheme = _SCHEME.match(text)
    if scheme:
        return _stream(text, scheme["scheme"])
    if "\0" in text:
        raise ConfigError("a source holds a zero character: name a file, a camera number or a stream address")
    if re.fullmatch(r"[0-9]{1,3}", text):
        return _device(Path(f"/dev/video{int(text)}"), f"camera-{int(text)}", may_be_unplugged)
    try:
        if _DEVICE.fullmatch(text) and not Path(text).exists():
            return _device(Path(text), camera_name(Path(text).name), may_be_unplugged)
        return _path(text, Path(text))
    except OSError as error:
        raise SourceNotFound(f"source {mask(text)!r}: {error.strerror}: check the path") from None


def _path(text: str, path: Path) -> Source:
    if path.is_dir():
        return _images(text, path, _images_of(path))
    if not path.exists() and _NUMBER_IN_NAME.search(path.name):
        return _images(text, path.parent, _numbered(path))
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode):
        return _device(path, camera_name(path.name), False)
    if not stat.S_ISREG(mode):
        raise SourceNotFound(f"source {mask(text)!r} is no file, directory, camera or stream address: name one of these")
    if path.name.lower().endswith(FRAME_SUFFIXES):
        return _images(text, path.with_suffix(""), (str(path.absolute()),))
    return Source(SourceKind.VIDEO, str(path.absolute()), mask(text), camera_name(path.stem))


def _stream(text: str, scheme: str) -> Source:
    if scheme.lower() not in SCHEMES:
        raise ConfigError(f"source '{scheme}://...': known kinds of streams are {', '.join(SCHEMES)}")
    match = None if _NOT_PLAIN.search(text) else _ADDRESS.fullmatch(text)
    if match is None:  # nothing of the address is quoted: which part of it is the password cannot be known
        raise ConfigError(
            # in an order that masking leaves alone: no @ comes after something that looks like an address
            "write %2F %3F %23 %40 %25 %20 for / ? # @ % and spaces in a user, password or path: "
            f"source '{scheme}://...' is no address of a scheme, user, password, host, port and path"
        )
    path = mask(match["path"] or "")
    if scheme.lower().startswith("rtmp") and path.count("/") > 1:  # rtmp://host/application/stream-key
        path = f"{path.rpartition('/')[0]}/{MASK}"
    shown = (
        f"{scheme.lower()}://{MASK + '@' if match['userinfo'] is not None else ''}{match['host']}{match['port'] or ''}"
        f"{path}{'?' + MASK if match['query'] else ''}"
    )
    return Source(SourceKind.STREAM, text, shown, camera_name(match["host"]), secrets=_secrets(text, match))


def _secrets(text: str, match: re.Match[str]) -> tuple[str, ...]:
    """Whatever must not be seen, the longest first: replacing a part before the whole would leave the rest."""
    parts = {text, match["userinfo"] or "", match["query"] or "", match["fragment"] or ""}
    parts |= {*(match["userinfo"] or "").split(":", 1)}
    parts |= {value for pair in (match["query"] or "")[1:].split("&") for value in pair.split("=", 1)[1:]}
    parts |= {unquote(part) for part in parts}
    parts |= {written[1:-1] for part in parts for written in (repr(part), ascii(part))}  # as Python's tracebacks have it
    return tuple(sorted((part for part in parts if len(part) >= SHORTEST_SECRET), key=len, reverse=True))


def _device(path: Path, name: str, may_be_unplugged: bool) -> Source:
    try:
        found = stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        found = may_be_unplugged
    if not found:
        raise SourceNotFound(f"camera {path} is not there: plug it in, or see what /dev/video* there are")
    return Source(SourceKind.DEVICE, str(path), str(path), name)


def _images(text: str, folder: Path, images: tuple[str, ...]) -> Source:
    if not images:
        raise SourceNotFound(
            f"source {mask(text)!r} holds no images ({', '.join(FRAME_SUFFIXES)}): name a video file, or another folder"
        )
    return Source(SourceKind.IMAGES, "", mask(text), camera_name(folder.absolute().name), images=images)


def _images_of(folder: Path) -> tuple[str, ...]:
    files = (path for path in folder.absolute().iterdir() if is_frame_key(path.name) and path.is_file())
    return tuple(str(path) for path in sorted(files, key=lambda path: path.name))


def _numbered(pattern: Path) -> tuple[str, ...]:
    """The files whose name fits a pattern such as img-%04d.jpg, by their number."""
    number_match = _NUMBER_IN_NAME.search(pattern.name)
    assert number_match is not None
    digits = rf"(\d{{{number_match['width'] or 1},}})"
    name = re.compile(
        re.escape(pattern.name[: number_match.start()]) + digits + re.escape(pattern.name[number_match.end() :])
    )
    found = [(int(match[1]), path) for path in pattern.parent.absolute().iterdir() if (match := name.fullmatch(path.name))]
    return tuple(str(path) for _, path in sorted(found) if path.is_file())
