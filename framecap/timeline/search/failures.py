"""The index's connection in; the frames that have failed, with the reason, and how many of each kind there are, out."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from framecap.frames import SIDECAR_SUFFIX
from framecap.timeline.search.rows import moment

_NEWEST = (1 << 63) - 1
_PAGE = """
SELECT failures.id, sidecars.key, cameras.name, sidecars.captured_at, sidecars.position, failures.kind, failures.message
FROM failures JOIN sidecars ON sidecars.id = failures.id JOIN cameras ON cameras.number = sidecars.camera
WHERE failures.id < ? {of_kind} ORDER BY failures.id DESC LIMIT ?
"""
_COUNTS = "SELECT kind, count(*) FROM failures GROUP BY kind ORDER BY count(*) DESC, kind"


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """One of them. `position`: in its recording, in seconds."""

    key: str
    camera: str
    at: datetime
    position: float | None
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class FailedPage:
    """Some of them, the newest first; the place from which on the next page goes (None: there is none); all by kind."""

    frames: tuple[FailedFrame, ...]
    before: int | None
    kinds: dict[str, int]


def failed_page(connection: sqlite3.Connection, kind: str | None, before: int | None, limit: int) -> FailedPage:
    """See Index.failed."""
    of_kind = "" if kind is None else "AND failures.kind = ?"
    wanted = (_NEWEST if before is None else before, *([] if kind is None else [kind]), limit + 1)
    rows = connection.execute(_PAGE.format(of_kind=of_kind), wanted).fetchall()
    frames = tuple(
        FailedFrame(key.removesuffix(SIDECAR_SUFFIX), camera, moment(at), position, found, message)
        for _, key, camera, at, position, found, message in rows[:limit]
    )
    return FailedPage(frames, rows[limit - 1][0] if len(rows) > limit else None, dict(connection.execute(_COUNTS)))
