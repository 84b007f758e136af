"""Sidecars in, rows of the index out: written, replaced, removed; and what is remembered from one update to the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from framecap.frames import sidecar_key
from framecap.sidecars.reader import FoundSidecar
from framecap.stores.base import Entry
from framecap.timeline.search.query import EVERY_CAPTION, camera_word
from framecap.timeline.segments import displayed_caption

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CAPACITY = 20  # bits: so many frames of one millisecond, of all cameras, keep their order among the others
# In the year 2248; later and much earlier ones lose their order. Beyond it there is room for the many of one millisecond.
_LAST_MILLISECOND = (1 << 43) - (1 << _CAPACITY)
_AT_ONCE = 10_000
_MAX_MESSAGE = 500  # characters of a failure's


def microseconds(at: datetime) -> int:
    """Since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """The reverse of `microseconds`."""
    return _EPOCH + at * _MICROSECOND


def first_id(at: int) -> int:
    """No frame of that millisecond (`at`: microseconds) or a later one has a smaller id, and no earlier one a larger."""
    return max(-_LAST_MILLISECOND, min(at // 1000, _LAST_MILLISECOND)) << _CAPACITY


def last_id(at: int) -> int:
    """No frame of that millisecond or an earlier one has a larger id."""
    return first_id(at) | ((1 << _CAPACITY) - 1)


class Rows:
    """What is written within one update."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cameras: dict[str, int] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._cameras.clear()
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def state(self, name: str) -> Any:
        """What was remembered under that name, or None."""
        row = self._connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def remember(self, name: str, value: object) -> None:
        self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    def holds(self, entry: Entry) -> bool:
        """Whether a listed sidecar was read as it is."""
        row = self._connection.execute("SELECT etag FROM sidecars WHERE key = ?", (entry.key,)).fetchone()
        return row is not None and row[0] == entry.etag

    def in_order(self) -> Iterator[tuple[str, str]]:
        """The key of every sidecar that was read, with its etag, in the listing's order; rows may be written meanwhile."""
        last = ""
        while some := self._connection.execute(
            "SELECT key, etag FROM sidecars WHERE key > ? ORDER BY key LIMIT ?", (last, _AT_ONCE)
        ).fetchall():
            yield from some
            last = some[-1][0]

    def put(self, found: FoundSidecar) -> None:
        """Write a sidecar's row, in place of the one that its frame may have had."""
        sidecar, key = found.sidecar, sidecar_key(found.key)
        self.remove([key])
        at = microseconds(sidecar.frame.captured_at)
        number, caption, row_id = self._camera(sidecar.frame.camera), displayed_caption(sidecar), self._free_id(at)
        self._connection.execute(
            "INSERT INTO sidecars VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row_id,
                key,
                found.etag,
                number,
                at,
                caption,
                sidecar.confidence,
                sidecar.uncertain,
                sidecar.frame.position,
            ),
        )
        if sidecar.error is not None:
            failure = (row_id, sidecar.error.kind, sidecar.error.message[:_MAX_MESSAGE])
            self._connection.execute("INSERT INTO failures VALUES (?, ?, ?)", failure)
        if caption is not None:
            self._connection.execute(
                "INSERT INTO captions (rowid, caption, scope) VALUES (?, ?, ?)", (row_id, caption, _scope(number))
            )

    def remove(self, keys: Iterable[str]) -> None:
        """Forget these sidecars."""
        for key in keys:
            row = self._connection.execute("SELECT id, caption, camera FROM sidecars WHERE key = ?", (key,)).fetchone()
            if row is None:
                continue
            row_id, caption, number = row
            if caption is not None:
                self._connection.execute(
                    "INSERT INTO captions (captions, rowid, caption, scope) VALUES ('delete', ?, ?, ?)",
                    (row_id, caption, _scope(number)),
                )
            self._connection.execute("DELETE FROM failures WHERE id = ?", (row_id,))
            self._connection.execute("DELETE FROM sidecars WHERE id = ?", (row_id,))

    def _free_id(self, at: int) -> int:
        start = first_id(at)
        while True:
            end = start + (1 << _CAPACITY)
            row = self._connection.execute("SELECT max(id) FROM sidecars WHERE id >= ? AND id < ?", (start, end)).fetchone()
            if row[0] is None:
                return start
            if row[0] + 1 < end:
                return int(row[0]) + 1
            start = end

    def _camera(self, name: str) -> int:
        if name not in self._cameras:
            self._connection.execute("INSERT OR IGNORE INTO cameras (name) VALUES (?)", (name,))
            self._cameras[name] = camera_number(self._connection, name) or 0
        return self._cameras[name]


def camera_number(connection: sqlite3.Connection, name: str) -> int | None:
    """A camera's number in the index, or None."""
    row = connection.execute("SELECT number FROM cameras WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _scope(number: int) -> str:
    return f"{EVERY_CAPTION} {camera_word(number)}"
