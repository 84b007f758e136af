"""What a refiner must not forget, in one SQLite file: its cursor, the frames that wait for a second look, the requests sent.

A frame that waits is written together with the follower's progress, and a request is charged before it is sent: a process
that is killed at any moment loses no frame, and never exceeds the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from framecap.config import RefineBudgetConfig
from framecap.sidecars.cursor import DurableCursor

MAX_WAITING = 1000  # frames of one camera; the oldest beyond that are dropped
_MINUTE, _DAY = 60.0, 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    key TEXT PRIMARY KEY, camera TEXT NOT NULL, captured_at REAL NOT NULL, new_at REAL NOT NULL,
    version TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_camera ON waiting (camera, captured_at);
CREATE TABLE IF NOT EXISTS charges (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, camera TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS charges_by_time ON charges (at);
CREATE TABLE IF NOT EXISTS cameras (camera TEXT PRIMARY KEY, selected_at REAL NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that waits for a second look; `version` names the commit of the first one, `attempts` its failures."""

    key: str
    camera: str
    captured_at: float  # Unix seconds
    new_at: float  # Unix seconds, what its age is counted from
    version: str
    reason: str
    attempts: int


class RefineState(DurableCursor):
    """The cursor, the waiting frames and the charges. Safe to use from several threads."""

    _synchronous = "FULL"  # a charge that a power cut takes back could be spent twice

    def __init__(
        self, folder: Path, address: str, budget: RefineBudgetConfig, clock: Callable[[], float] = time.time
    ) -> None:
        """See `DurableCursor`. `clock` gives Unix seconds."""
        super().__init__(folder, address, setting="refine.state", file="refine.sqlite", schema=_SCHEMA)
        self._budget = budget
        self._clock = clock
        self._in_flight: set[str] = set()

    # The frames that wait

    def add_candidate(self, candidate: Candidate) -> int:
        """Let a frame wait, the newest commit of it only; return how many older ones of its camera were dropped for it."""
        row = (candidate.key, candidate.camera, candidate.captured_at, candidate.new_at, candidate.version, candidate.reason)
        columns = "key, camera, captured_at, new_at, version, reason"
        self._do(f"INSERT OR REPLACE INTO waiting ({columns}) VALUES (?, ?, ?, ?, ?, ?)", *row)  # noqa: S608
        known = "ON CONFLICT (camera) DO UPDATE SET selected_at = max(selected_at, excluded.selected_at)"
        self._do(f"INSERT INTO cameras VALUES (?, ?, 0) {known}", candidate.camera, candidate.captured_at)  # noqa: S608
        beyond = "SELECT key FROM waiting WHERE camera = ? ORDER BY captured_at DESC LIMIT -1 OFFSET ?"
        return self._do(f"DELETE FROM waiting WHERE key IN ({beyond})", candidate.camera, MAX_WAITING)  # noqa: S608

    def last_look(self, camera: str) -> datetime | None:
        """Return the capture time of the newest frame of a camera that was selected."""
        found = self._one("SELECT selected_at FROM cameras WHERE camera = ?", camera)
        return None if found is None else datetime.fromtimestamp(min(found[0], self._clock()), UTC)

    def take(self) -> Candidate | None:
        """Return the newest frame of the camera whose turn it is, or None while nothing waits or the budget is spent.

        The frame is in flight until `finish` or `retry`.
        """
        now = self._clock()
        with self.transaction():
            left = self._left(now)
            if left is not None and left <= len(self._in_flight):  # each of those may charge one: the newest come first
                return None
            cameras = self._all(
                "SELECT DISTINCT waiting.camera FROM waiting LEFT JOIN cameras USING (camera) "
                "WHERE due <= ? ORDER BY coalesce(turn, 0), waiting.camera",
                now,
            )
            for (camera,) in cameras:
                found = None if self._left_of(camera, now) == 0 else self._newest(camera, now)
                if found is not None:
                    self._do("UPDATE cameras SET turn = (SELECT max(turn) + 1 FROM cameras) WHERE camera = ?", camera)
                    self._in_flight.add(found.key)
                    return found
        return None

    def _newest(self, camera: str, now: float) -> Candidate | None:
        rows = self._all(
            "SELECT key, camera, captured_at, new_at, version, reason, attempts FROM waiting WHERE camera = ? AND due <= ? "
            "ORDER BY captured_at DESC LIMIT ?",
            camera,
            now,
            len(self._in_flight) + 1,
        )
        return next((Candidate(*row) for row in rows if row[0] not in self._in_flight), None)

    def finish(self, candidate: Candidate) -> None:
        """The frame waits no more (a newer commit of it, found meanwhile, does)."""
        self._do("DELETE FROM waiting WHERE key = ? AND version = ?", candidate.key, candidate.version)
        self._in_flight.discard(candidate.key)

    def retry(self, candidate: Candidate, delay: float, *, failed: bool) -> None:
        """The frame waits again, for `delay` seconds at least; `failed`: an attempt was made."""
        update = "UPDATE waiting SET due = ?, attempts = attempts + ? WHERE key = ?"
        self._do(update, self._clock() + delay, int(failed), candidate.key)
        self._in_flight.discard(candidate.key)

    def release(self, candidate: Candidate) -> None:
        """The frame is in flight no more, whatever became of it."""
        self._in_flight.discard(candidate.key)

    def drop_older(self, new_before: float) -> int:
        """Drop the frames that are too old by now, and return how many those were."""
        with self.transaction():
            old = [key for (key,) in self._all("SELECT key FROM waiting WHERE new_at < ?", new_before)]
            drop = [key for key in old if key not in self._in_flight]
            for key in drop:
                self._do("DELETE FROM waiting WHERE key = ?", key)
        return len(drop)

    def rewind(self, position: float) -> None:
        """Follow again what was committed since `position` (Unix seconds)."""
        with self.transaction():
            self._do("UPDATE meta SET value = min(value, ?) WHERE name IN ('position', 'began')", position)
            self._do("DELETE FROM meta WHERE name = 'forgotten'")
            self._do("DELETE FROM given WHERE modified > ?", position)

    def waiting(self) -> int:
        """Return how many frames wait, those in flight included."""
        return int(self._one("SELECT count(*) FROM waiting")[0])

    # The budget

    def charge(self, camera: str) -> int | None:
        """Charge a request before it is sent; return the charge's number, or None where the budget does not allow it."""
        with self.transaction():
            now = self._clock()
            self._do("UPDATE charges SET at = ? WHERE at > ?", now, now)  # the clock was set back: they are as young as now
            self._do("DELETE FROM charges WHERE at <= ?", now - _DAY)
            if self._left(now) == 0 or self._left_of(camera, now) == 0:
                return None
            self._do("INSERT INTO charges (at, camera) VALUES (?, ?)", now, camera)
            return int(self._one("SELECT last_insert_rowid()")[0])

    def refund(self, charge: int) -> None:
        """Take a charge back: nothing was sent."""
        self._do("DELETE FROM charges WHERE seq = ?", charge)

    def left(self) -> int | None:
        """Return how many requests the budget allows at the moment; None: no limit."""
        return self._left(self._clock())

    def _left(self, now: float) -> int | None:
        left = [
            limit - int(self._one("SELECT count(*) FROM charges WHERE at > ?", now - seconds)[0])
            for limit, seconds in ((self._budget.per_minute, _MINUTE), (self._budget.per_day, _DAY))
            if limit is not None
        ]
        return max(0, min(left)) if left else None

    def _left_of(self, camera: str, now: float) -> int | None:
        limit = self._budget.per_camera_per_minute
        if limit is None:
            return None
        spent = self._one("SELECT count(*) FROM charges WHERE camera = ? AND at > ?", camera, now - _MINUTE)
        return max(0, limit - int(spent[0]))
