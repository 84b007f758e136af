"""What must outlive this process, in one SQLite file: what was looked at, what waits to be delivered, what was given up.

That a caption was looked at and that its events wait is one transaction: who is killed, with -9 too, has both or neither.
Sidecars are the truth: what a power cut takes back from here is looked at again, and gives events of the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from framecap.events.event import Event, Previous
from framecap.sidecars.cursor import DurableCursor

_FILE = "events.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cameras (
    camera TEXT PRIMARY KEY, key TEXT NOT NULL, captured_at TEXT NOT NULL, caption TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS matches (
    rule TEXT NOT NULL, camera TEXT NOT NULL, captured_at TEXT NOT NULL, PRIMARY KEY (rule, camera)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, id TEXT NOT NULL, rule TEXT NOT NULL, camera TEXT NOT NULL,
    body BLOB NOT NULL, created REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT,
    died REAL, UNIQUE (action, id)
);
CREATE INDEX IF NOT EXISTS outbox_by_due ON outbox (action, died, due, seq);
"""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event that waits for an action: since when and until when (Unix seconds), how often it was tried, and what came of
    it last. `died` is when it was given up; None: it was not."""

    seq: int
    action: str
    event: Event
    created: float
    due: float
    attempts: int
    error: str | None
    died: float | None


class EventState(DurableCursor):
    """The cursor, what each camera showed last, and the outbox. Safe to use from several threads."""

    def __init__(self, folder: Path, address: str) -> None:
        """`address` is the store that it is about. Raises ConfigError: another store's, damaged, or not to be written."""
        super().__init__(folder, address, setting="events.state", file=_FILE, schema=_SCHEMA)

    def previous(self, camera: str) -> Previous | None:
        """The camera's newest captioned frame."""
        found = self._one("SELECT key, captured_at, caption FROM cameras WHERE camera = ?", camera)
        return None if found is None else Previous(found[0], datetime.fromisoformat(found[1]), found[2])

    def set_previous(self, camera: str, newest: Previous) -> None:
        row = (camera, newest.key, newest.captured_at.isoformat(), newest.caption)
        self._do("INSERT OR REPLACE INTO cameras VALUES (?, ?, ?, ?)", *row)

    def last_match(self, rule: str, camera: str) -> datetime | None:
        """When the newest frame of a camera was captured that met a rule."""
        found = self._one("SELECT captured_at FROM matches WHERE rule = ? AND camera = ?", rule, camera)
        return None if found is None else datetime.fromisoformat(found[0])

    def set_last_match(self, rule: str, camera: str, captured_at: datetime) -> None:
        self._do("INSERT OR REPLACE INTO matches VALUES (?, ?, ?)", rule, camera, captured_at.isoformat())

    # What waits, and what was given up

    def put(self, action: str, event: Event, now: float) -> bool:
        """The event waits for the action; False: it does already, or is given up."""
        row = (action, event.id, event.rule, event.camera, event.body, now, now)
        columns = "action, id, rule, camera, body, created, due"
        return self._do(f"INSERT OR IGNORE INTO outbox ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", *row) > 0  # noqa: S608

    def next_due(self, action: str) -> WaitingEvent | None:
        """What is to be delivered next, though it may not be due yet."""
        return next(self._waiting("action = ? AND died IS NULL ORDER BY due, seq LIMIT 1", action), None)

    def count(self, action: str) -> tuple[int, float | None]:
        """How many wait, and since when the oldest does (Unix seconds)."""
        found = self._one("SELECT count(*), min(created) FROM outbox WHERE action = ? AND died IS NULL", action)
        return found[0], found[1]

    def delivered(self, seq: int) -> None:
        self._do("DELETE FROM outbox WHERE seq = ?", seq)

    def retry_later(self, seq: int, due: float, error: str) -> None:
        """Not delivered: to be tried again."""
        self._do("UPDATE outbox SET due = ?, attempts = attempts + 1, error = ? WHERE seq = ?", due, error, seq)

    def bury(self, action: str, created_before: float, keep: int, now: float, reason: str) -> int:
        """Give up what waits since before then, and the oldest beyond `keep`; how many those were."""
        with self.transaction():
            beyond = max(self.count(action)[0] - keep, 0)
            where = "action = ? AND died IS NULL"
            oldest = f"SELECT seq FROM outbox WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608
            change = f"UPDATE outbox SET died = ?, error = coalesce(error, ?) WHERE {where}"  # noqa: S608
            return self._do(
                f"{change} AND (created < ? OR seq IN ({oldest}))", now, reason, action, created_before, action, beyond
            )

    def forget_dead(self, action: str, keep: int) -> int:
        """Delete the oldest dead letters beyond `keep`; how many those were."""
        dead = "SELECT seq FROM outbox WHERE action = ? AND died IS NOT NULL ORDER BY died DESC, seq DESC LIMIT -1 OFFSET ?"
        return self._do(f"DELETE FROM outbox WHERE seq IN ({dead})", action, keep)  # noqa: S608

    def dead(self) -> list[WaitingEvent]:
        """The dead letters, the oldest first."""
        return list(self._waiting("died IS NOT NULL ORDER BY died, seq"))

    def requeue(self, now: float) -> int:
        """Dead letters wait again, as if they were new; how many."""
        return self._do("UPDATE outbox SET died = NULL, created = ?, due = ?, attempts = 0 WHERE died IS NOT NULL", now, now)

    def actions(self) -> list[str]:
        """Those for which something waits."""
        return [name for (name,) in self._all("SELECT DISTINCT action FROM outbox WHERE died IS NULL ORDER BY action")]

    def _waiting(self, where: str, *values: Any) -> Iterator[WaitingEvent]:
        columns = "seq, action, id, rule, camera, body, created, due, attempts, error, died"
        for row in self._all(f"SELECT {columns} FROM outbox WHERE {where}", *values):  # noqa: S608
            seq, action, name, rule, camera, body, created, due, attempts, error, died = row
            yield WaitingEvent(seq, action, Event(name, rule, camera, body), created, due, attempts, error, died)
