"""A store in, its captions found by their words out: the index, kept up to date, searched, and made anew when damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from framecap.config import IngestConfig, StoreConfig, TimelineConfig
from framecap.errors import IndexUnavailable
from framecap.frames import SIDECAR_SUFFIX
from framecap.stores.base import Store
from framecap.stores.s3_client import is_s3
from framecap.timeline.search.database import DamagedIndex, Database
from framecap.timeline.search.failures import FailedPage, failed_page
from framecap.timeline.search.hits import MARK, UNMARK, HitPage, Marker, Match, gather, ranked
from framecap.timeline.search.query import Query
from framecap.timeline.search.rows import Rows, camera_number, first_id, last_id, microseconds, moment
from framecap.timeline.search.update import Updated, Updater

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_ALL_TIME = (-(1 << 62), 1 << 62)  # microseconds
_MATCHES = """
SELECT sidecars.id, sidecars.key, cameras.name, sidecars.captured_at, sidecars.caption, sidecars.confidence,
       sidecars.uncertain, sidecars.position
FROM captions JOIN sidecars ON sidecars.id = captions.rowid JOIN cameras ON cameras.number = sidecars.camera
WHERE captions MATCH ? AND captions.rowid BETWEEN ? AND ? AND sidecars.captured_at >= ? AND sidecars.captured_at < ?
ORDER BY captions.rowid DESC
"""
_MARKED = """
SELECT rowid, highlight(captions, 0, ?, ?) FROM captions
WHERE captions MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))
"""  # the plus keeps SQLite from asking once for each rowid


class Index:
    """The search index of one store. `update` and `search` may be called from several threads and processes."""

    def __init__(self, store: Store, path: Path, gap_seconds: float, config: IngestConfig | None = None) -> None:
        self._database = Database(path)
        self._gap = gap_seconds
        self._store = store
        self._config = config or IngestConfig()
        self._updater = Updater(store, self._config)

    @property
    def path(self) -> Path:
        return self._database.path

    def update(self, full: bool = False, on_read: Callable[[], object] = lambda: None) -> Updated:
        """Bring it up to date, at a cost in proportion to what is new; `full` looks at everything, as happens by itself now
        and then. `on_read` hears of each sidecar that is read.

        Raises StoreUnavailable, ConfigError (the folder cannot be written), MissingError and IndexUnavailable.
        """

        def work() -> Updated:
            with self._database.writing() as connection:
                if connection is None:
                    return Updated(busy=True)
                return self._updater.run(Rows(connection), full, on_read)

        return self._healed(work)

    def search(
        self,
        text: str,
        camera: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 20,
        newest: bool = False,
        before: int | None = None,
    ) -> HitPage:
        """The captions in which the words of `text` are (see the module `query`), `limit` at most: the best of the newest
        matches first, or with `newest` (and where `text` has no words) simply the newest, from the place `before` on.

        `since` is included, `until` is not; both with a time zone. Successive matches of one camera that say the same,
        with no pause longer than the timeline's gap, are one hit. An index that was never updated gives nothing.
        Raises IndexUnavailable.
        """
        query = Query.parse(text)
        begin = _ALL_TIME[0] if since is None else microseconds(since)
        end = _ALL_TIME[1] if until is None else microseconds(until)

        def work() -> HitPage:
            with self._database.reading() as connection:
                if connection is None:
                    return HitPage([])
                number = None if camera is None else camera_number(connection, camera)
                if camera is not None and number is None:
                    return HitPage([])
                expression = query.expression(number)
                matches = _matches(connection, expression, begin, end, before)
                put_together = gather if newest or not query.wanted else ranked
                return put_together(matches, _marker(connection, expression), self._gap, limit)

        return self._healed(work)

    def failed(self, kind: str | None = None, before: int | None = None, limit: int = 50) -> FailedPage:
        """The frames that have failed, with this kind of error or any, the newest first: those below the place `before`.

        An index that was never updated knows of none. Raises IndexUnavailable.
        """

        def work() -> FailedPage:
            with self._database.reading() as connection:
                return FailedPage((), None, {}) if connection is None else failed_page(connection, kind, before, limit)

        return self._healed(work)

    def _healed(self, work: Callable[[], Result]) -> Result:
        """Do it; with an index that is damaged, remove that and do it again."""
        try:
            return work()
        except DamagedIndex as damage:
            logger.warning("the search index is damaged and will be made anew: %s", damage)
            if self._database.remove():
                self._updater = Updater(self._store, self._config)
        try:
            return work()
        except DamagedIndex as damage:
            raise IndexUnavailable(f"{damage}: the search index is damaged: delete it, and it is made anew") from damage


def open_index(store: Store, where: StoreConfig, timeline: TimelineConfig, ingest: IngestConfig) -> Index:
    """The index of a store: one file in the folder that the configuration names, or in the user's cache folder."""
    folder = Path(timeline.index).expanduser() if timeline.index else _cache_folder() / "search"
    return Index(store, folder / f"{_name(where)}.sqlite", timeline.gap_seconds, ingest)


def _cache_folder() -> Path:
    """As the XDG base directory specification says."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path("~/.cache").expanduser()) / "framecap"


def _name(where: StoreConfig) -> str:
    """The same for the same place, however it is written; another for each other one."""
    addresses = [
        sort_key if is_s3(sort_key) else str(Path(sort_key).expanduser().resolve())
        for sort_key in (where.frames, where.sidecars)
        if sort_key
    ]
    digest = hashlib.sha256(json.dumps([addresses, where.s3.endpoint]).encode()).hexdigest()[:16]
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", addresses[0].rstrip("/").rpartition("/")[2])[:40].strip("-.")
    return f"{words or 'frames'}-{digest}"


def _matches(connection: sqlite3.Connection, expression: str, begin: int, end: int, before: int | None) -> Iterator[Match]:
    """The newest first, from the id `before` on."""
    last = last_id(end) if before is None else min(last_id(end), before)
    wanted = (expression, first_id(begin), last, begin, end)
    for row_id, key, camera, at, caption, confidence, uncertain, position in connection.execute(_MATCHES, wanted):
        yield Match(
            id=row_id,
            key=key.removesuffix(SIDECAR_SUFFIX),
            camera=camera,
            at=moment(at),
            caption=caption,
            confidence=confidence,
            uncertain=None if uncertain is None else bool(uncertain),
            position=position,
        )


def _marker(connection: sqlite3.Connection, expression: str) -> Marker:
    """Equal captions are marked once."""

    def mark(matches: list[Match]) -> dict[str, str]:
        ids = {match.caption: match.id for match in matches}
        if not ids:
            return {}
        wanted = (MARK, UNMARK, expression, min(ids.values()), max(ids.values()), json.dumps(list(ids.values())))
        marked = dict(connection.execute(_MARKED, wanted).fetchall())
        return {caption: marked[row_id] for caption, row_id in ids.items() if row_id in marked}

    return mark
