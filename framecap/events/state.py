"""What must outlive this process, in one SQLite file: what was looked at, what waits to be delivered, what was given up.

That a caption was looked at and that its events wait is one transaction: who is killed, with -9 too, has both or neither.
Sidecars are the truth: what a power cut takes back from here is looked at again, and gives events of the same ids.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from framecap.errors import ConfigError, StateUnavailable
from framecap.events.event import Event, Previous
from framecap.telemetry import mask

_FILE = "events.sqlite"
_BUSY_SECONDS = 30.0  # for another process that lists or puts back dead letters
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS given (key TEXT PRIMARY KEY, etag TEXT NOT NULL, modified REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS given_by_time ON given (modified);
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


class EventState:
    """Safe to use from several threads. Every call raises StateUnavailable where the file cannot be used just now.

    It is the follower's memory as well (timeline.follower.Memory).
    """

    def __init__(self, folder: Path, address: str) -> None:
        """`address` is the store that it is about. Raises ConfigError: another store's, damaged, or not to be written."""
        self._folder = folder
        self._lock = threading.RLock()
        self._owner: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = folder / _FILE
            file.touch(mode=0o600)
            self._database = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
            known = self._get("address", address)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        if known != address:
            raise ConfigError(
                f"events.state: {str(folder)!r} is about {mask(str(known))}, not {address}: give events.state "
                "another directory"
            )

    def own(self) -> None:
        """Be the one process that delivers from here. Raises ConfigError when another one does."""
        self._owner = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"events.state: {str(self._folder)!r}: another framecap events is at work there") from None

    def close(self) -> None:
        with self._lock:
            self._database.close()
        if self._owner is not None:
            os.close(self._owner)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done within is there afterwards, or nothing of it. Other threads wait."""
        with self._lock, self._guarded():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.rollback()
                raise
            self._database.execute("COMMIT")

    # What was looked at

    def begin(self, now: float) -> float:
        """When this state was begun (Unix seconds): now, at the very first time. Raises ConfigError: it is damaged."""
        self._get("began", now)
        began = self._number("began")
        self._get("position", began)
        return began

    @property
    def position(self) -> float:
        """How far it was followed (Unix seconds). Raises ConfigError: it is damaged."""
        return self._number("position")

    @property
    def forgotten(self) -> float:
        """What was committed after that is remembered (Unix seconds). Raises ConfigError: it is damaged."""
        found = self._one("SELECT 1 FROM meta WHERE name = 'forgotten'")
        return -math.inf if found is None else self._number("forgotten")

    def holds(self, key: str, etag: str) -> bool:
        return self._one("SELECT 1 FROM given WHERE key = ? AND etag = ?", key, etag) is not None

    def add(self, key: str, etag: str, modified: float) -> None:
        self._do("INSERT OR REPLACE INTO given VALUES (?, ?, ?)", key, etag, modified)

    def advance(self, position: float, forget_before: float) -> None:
        with self.transaction():
            self._do("UPDATE meta SET value = ? WHERE name = 'position'", position)
            self._do("DELETE FROM given WHERE modified <= ?", forget_before)
            known = "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
            self._do(f"INSERT INTO meta VALUES ('forgotten', ?) {known}", forget_before)  # noqa: S608

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

    def _get(self, name: str, default: Any) -> Any:
        """A lasting value, which is `default` from the first time on."""
        self._do("INSERT OR IGNORE INTO meta VALUES (?, ?)", name, default)
        return self._one("SELECT value FROM meta WHERE name = ?", name)[0]

    def _number(self, name: str) -> float:
        found = self._one("SELECT value FROM meta WHERE name = ?", name)
        if found is None or not isinstance(found[0], int | float) or not math.isfinite(found[0]):
            raise self._unusable(f"its {name} is no time")
        return float(found[0])

    def _unusable(self, reason: object) -> ConfigError:
        return ConfigError(
            f"events.state: {str(self._folder)!r} cannot be used ({reason}): give a directory on a local disk that this "
            "user may write; a damaged one is moved away, and events begin anew"
        )

    def _one(self, statement: str, *values: Any) -> Any:
        with self._lock, self._guarded():
            return self._database.execute(statement, values).fetchone()

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, self._guarded():
            return self._database.execute(statement, values).fetchall()

    def _do(self, statement: str, *values: Any) -> int:
        with self._lock, self._guarded():
            return self._database.execute(statement, values).rowcount

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateUnavailable(
                f"events.state: {str(self._folder)!r} cannot be used just now ({error}): look at its disk; it is tried again"
            ) from error
