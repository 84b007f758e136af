"""One frame of the spool as a file: a captured frame in, a file that is whole or not there out, and back.

A file is a line of JSON (key, live, the SHA-256 of what follows) and the JPEG. Its name is the frame's number in the order
of arrival, so that a clock which jumps does not change the order.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from contextlib import suppress

from framecap.capture.captured import CapturedFrame
from framecap.frames import make_key, parse_key
from framecap.stores.directory_backend import sync_folder, write_all

NAME = re.compile(r"(\d{12,18})\.frame")
UNFINISHED = re.compile(r"\d{12,18}\.frame\.tmp")  # what a writer left behind when it died
DAMAGED_SUFFIX = ".damaged"
MAX_FILE_BYTES = 1 << 29
_MAX_HEADER_BYTES = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DamagedSpoolFile(Exception):
    """A file that has a frame's name and is none: the message says why."""


def name_of(number: int) -> str:
    return f"{number:012d}.frame"


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode(frame: CapturedFrame) -> bytes:
    header = {"key": make_key(frame.name), "live": frame.live, "sha256": digest_of(frame.data)}
    return json.dumps(header).encode() + b"\n" + frame.data


def decode(content: bytes, camera: str) -> CapturedFrame:
    """Raises Damaged for everything that `encode` did not make of a frame of that camera: a torn end, a flipped bit."""
    line, _, data = content.partition(b"\n")
    key, live, digest = _header(line)
    if digest_of(data) != digest:
        raise DamagedSpoolFile("its image is not the one that was put there")
    name = parse_key(key)
    if name is None or name.camera != camera:
        raise DamagedSpoolFile("its key is none of this camera's")
    return CapturedFrame(name, data, live)


def _header(line: bytes) -> tuple[str, bool, str]:
    try:
        header = json.loads(line)
        key, live, digest = header["key"], header["live"], header["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedSpoolFile("it does not begin with a frame's header") from None
    if not (isinstance(key, str) and isinstance(live, bool) and isinstance(digest, str)):
        raise DamagedSpoolFile("its header holds other things than a frame's")
    return key, live, digest


def write(folder: int, number: int, content: bytes) -> None:
    """Make the file, durably: after a power cut, too, it is whole or not there. Raises OSError, and leaves nothing then."""
    name = name_of(number)
    temporary = name + ".tmp"
    file = os.open(temporary, _NEW, 0o600, dir_fd=folder)
    try:
        try:
            write_all(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    sync_folder(folder)


def read(folder: int, number: int, camera: str) -> CapturedFrame:
    """A camera's frame. Raises Damaged, and OSError (FileNotFoundError when somebody took it away)."""
    file = _open(folder, number)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            raise DamagedSpoolFile("it is no regular file of a frame's size")
        chunks = []
        while chunk := os.read(file, 1 << 20):
            chunks.append(chunk)
    finally:
        os.close(file)
    return decode(b"".join(chunks), camera)


def read_header(folder: int, number: int) -> tuple[str, str]:
    """The key and the SHA-256 that a file states. Raises Damaged and OSError."""
    file = _open(folder, number)
    try:
        key, _live, digest = _header(os.read(file, _MAX_HEADER_BYTES).partition(b"\n")[0])
    finally:
        os.close(file)
    return key, digest


def _open(folder: int, number: int) -> int:
    try:
        return os.open(name_of(number), _EXISTING, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
            raise DamagedSpoolFile(f"it cannot be opened ({error.strerror})") from None
        raise


def put_aside(folder: int, number: int) -> str:
    """Give a damaged file a name under which it is never read again; the name."""
    name = name_of(number)
    os.rename(name, name + DAMAGED_SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
    return name + DAMAGED_SUFFIX
