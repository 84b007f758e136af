"""When a video file was recorded: a path in, a time out. Reads the headers of MP4 and QuickTime files, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 10_000  # a fragmented recording of a day has fewer; a crafted file could have any number
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)  # ISO/IEC 14496-12, 8.2.2
# Writers that know no time write 0 (1904), and some write Unix seconds by mistake (before 1990, read as this epoch).
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def recording_start(path: Path) -> datetime:
    """The container's creation time, else the file's modification time (UTC)."""
    with path.open("rb") as file:
        created = _creation_time(file)
    return created or from_mtime(path.stat().st_mtime_ns)


def from_mtime(nanoseconds: int) -> datetime:
    """A file's modification time; a nonsensical one is moved to the nearest that a key can hold."""
    at = datetime(1970, 1, 1, tzinfo=UTC)
    return at + min(timedelta(microseconds=max(0, nanoseconds // 1000)), _LATEST - at)


def _creation_time(file: BinaryIO) -> datetime | None:
    """`creation_time` of the moov box's mvhd box, or None when there is none that makes sense."""
    end = file.seek(0, 2)
    moov = _find(file, b"moov", 0, end)
    mvhd = moov and _find(file, b"mvhd", *moov)
    if not mvhd:
        return None
    file.seek(mvhd[0])
    head = file.read(12)
    if len(head) < 12 or head[0] > 1:
        return None
    seconds = int.from_bytes(head[4:12] if head[0] == 1 else head[4:8])
    if seconds > (_LATEST - _EPOCH).total_seconds():
        return None
    created = _EPOCH + timedelta(seconds=seconds)
    return created if created >= _EARLIEST else None


def _find(file: BinaryIO, kind: bytes, begin: int, end: int) -> tuple[int, int] | None:
    """Where the content of the first box of that kind begins and ends, among the boxes from `begin` to `end`."""
    for _ in range(MAX_BOXES):
        if begin + 8 > end:
            return None
        file.seek(begin)
        head = file.read(16)
        size, name, header = int.from_bytes(head[:4]), head[4:8], 8
        if size == 1:
            size, header = int.from_bytes(head[8:16]), 16
        elif size == 0:
            size = end - begin
        if size < header or begin + size > end:
            return None
        if name == kind:
            return begin + header, begin + size
        begin += size
    return None
