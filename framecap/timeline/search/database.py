"""The search index's file in, connections to it out; one that is damaged or of another version is made anew.

It is a cache: all of it can be made from the sidecars again. One process at a time updates it (a lock beside it tells), any
number read it meanwhile.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from framecap.errors import ConfigError, IndexUnavailable, MissingError

logger = logging.getLogger(__name__)

VERSION = 3  # counts up with every change of the schema
_BUSY_SECONDS = 10.0
_CACHE_KILOBYTES = 64_000  # of who writes: rows of many cameras lie far apart
_CORRUPT, _NOT_A_DATABASE = 11, 26  # of SQLite's primary result codes
_PRIMARY_CODE = 0xFF

# A row for each sidecar that was read, so that none is read twice; those with a caption are in the full-text table, too, and
# those of failed frames in `failures`.
# An id sorts by time (see the module `rows`), `scope` is what the module `query` says. `captured_at` is in microseconds.
_SCHEMA = """
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cameras (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sidecars (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, camera INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, caption TEXT, confidence REAL, uncertain INTEGER, position REAL
);
CREATE TABLE failures (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, message TEXT NOT NULL);
CREATE INDEX failures_by_kind ON failures (kind, id);
CREATE VIEW indexed AS SELECT id, caption, 'all c' || camera AS scope FROM sidecars;
CREATE VIRTUAL TABLE captions USING fts5(
    caption, scope, content='indexed', content_rowid='id', tokenize='porter unicode61'
);
"""


class Database:
    """One index file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection; None where there is no index yet. Raises Damaged, IndexUnavailable."""
        with self._errors():
            if not self.path.exists():
                yield None
                return
            with closing(self._connect()) as connection:
                yield connection if _version(connection) == VERSION else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to an index of this version, made if need be; None while another process has it. Raises Damaged,
        ConfigError, IndexUnavailable."""
        with self._locked() as ours, self._errors():
            if not ours:
                yield None
                return
            if self.path.exists() and self._version() != VERSION:
                logger.info("%s: of another version of framecap: the search index is made anew", self.path)
                self._remove()
            with closing(self._connect()) as connection:
                if _version(connection) != VERSION:
                    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
                connection.execute(f"PRAGMA cache_size = -{_CACHE_KILOBYTES}")
                yield connection

    def remove(self) -> bool:
        """Delete it; False while another process writes it, which will find out itself."""
        with self._locked() as ours:
            if ours:
                self._remove()
            return ours

    def _remove(self) -> None:
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _version(self) -> int:
        with closing(self._connect()) as connection:
            return _version(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # the end of a power cut is an older index, not a damaged one
        return connection

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether we have the lock; the lock file stays."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"timeline.index: the search index cannot be kept in {self.path.parent} ({error.strerror}): give a folder "
                f"that this user can write"
            ) from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(file)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
            if "no such module" in str(error):
                raise MissingError(
                    "this Python's SQLite has no FTS5, which search needs: use another build of Python"
                ) from None
            if code in (_CORRUPT, _NOT_A_DATABASE) or str(error).startswith(("no such", "vtable constructor failed")):
                raise DamagedIndex(f"{self.path}: {error}") from error
            raise IndexUnavailable(f"{self.path}: {error}: the search index cannot be used now") from error


class DamagedIndex(Exception):
    """The file is no whole index: it is to be removed and made anew."""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
