"""A durable cursor: the SQLite tables that let a follower go on where another process ended, however that one ended."""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framecap.errors import ConfigError, StateUnavailable
from framecap.telemetry import mask

_BUSY_SECONDS = 30.0  # for another process that reads the same file
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS given (key TEXT PRIMARY KEY, etag TEXT NOT NULL, modified REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS given_by_time ON given (modified);
"""


class DurableCursor:
    """A follower's cursor (see `sidecars.follower.Cursor`) in one SQLite file, to which its owner adds tables of its own.

    What an owner does within `transaction` is there together with the cursor's progress, or not at all. Safe to use from
    several threads. Every call raises StateUnavailable where the file cannot be used at the moment.
    """

    def __init__(self, folder: Path, address: str, *, setting: str, file: str, schema: str) -> None:
        """Open or create the file.

        Args:
            folder: a directory on a local disk; created if it is missing.
            address: the store that the cursor belongs to.
            setting: the configuration key that names the folder, for messages.
            file: the name of the database within the folder.
            schema: SQL that creates the owner's tables.

        Raises:
            ConfigError: the file belongs to another store, is damaged, or cannot be written.
        """
        self._folder, self._setting = folder, setting
        self._lock = threading.RLock()
        self._owner: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / file
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._database.executescript(_SCHEMA + schema)
            known = self._lasting("place", address)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        if known != address:
            raise ConfigError(
                f"{setting}: {str(folder)!r} belongs to {mask(str(known))}, not {address}: give {setting} another directory"
            )

    _synchronous = "NORMAL"

    def own(self) -> None:
        """Lock the folder for this process. Raises ConfigError when another process holds it."""
        self._owner = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{self._setting}: {str(self._folder)!r}: another process works there already") from None

    def close(self) -> None:
        with self._lock:
            self._database.close()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is done within, or nothing of it. Other threads wait."""
        with self._lock, self._guarded():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.rollback()
                raise
            self._database.execute("COMMIT")

    def begin(self, position: float) -> float:
        """Return the position that the cursor began at (Unix seconds); it is `position` at the very first call."""
        self._lasting("began", position)
        began = self._number("began")
        self._lasting("position", began)
        return began

    @property
    def position(self) -> float:
        """See `sidecars.follower.Cursor`. Raises ConfigError where the file is damaged."""
        return self._number("position")

    @property
    def forgotten(self) -> float:
        """See `sidecars.follower.Cursor`. Raises ConfigError where the file is damaged."""
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

    def _lasting(self, name: str, default: Any) -> Any:
        """Return a lasting value, which is `default` from the first call on."""
        self._do("INSERT OR IGNORE INTO meta VALUES (?, ?)", name, default)
        return self._one("SELECT value FROM meta WHERE name = ?", name)[0]

    def _number(self, name: str) -> float:
        found = self._one("SELECT value FROM meta WHERE name = ?", name)
        if found is None or not isinstance(found[0], int | float) or not math.isfinite(found[0]):
            raise self._unusable(f"its {name} is not a time")
        return float(found[0])

    def _unusable(self, reason: object) -> ConfigError:
        return ConfigError(
            f"{self._setting}: {str(self._folder)!r} cannot be used ({reason}): give a directory on a local disk that this "
            "user may write; move a damaged one away to start anew"
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
                f"{self._setting}: {str(self._folder)!r} cannot be used at the moment ({error}): check its disk; retrying"
            ) from error
