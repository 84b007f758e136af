"""A place with sidecars in, Sidecar objects out, in time order; can follow what is committed later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.runtime.stop import WaitableStop
from framecap.sidecars.follower import Follower, MemoryCursor, remembered_seconds
from framecap.sidecars.reader import FoundSidecar, SidecarReader, SortKey
from framecap.sidecars.sidecar import Sidecar
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.stores.s3_client import is_s3

logger = logging.getLogger(__name__)

_TIDY_EVERY = 10_000  # sidecars


def read_sidecars(path: str | Path, follow: bool = False, stop: threading.Event | None = None) -> Iterator[Sidecar]:
    """The sidecars below a directory (local or mounted) or s3://bucket/prefix, in the order of `captured_at`, then key.

    Of own keys, a folder's names and a few sidecars per camera are in memory; foreign keys, whose names do not sort by time,
    are sorted in a temporary file. With `follow` it then goes on, until `stop` is set, with the sidecars that are committed
    later: as they are found, every two seconds, the ones found together in time order. Each key comes once (one whose
    sidecar is replaced comes again). A torn sidecar is ignored with a warning, and with `follow` comes when it is whole.
    A bucket is reached as AWS's own settings say (AWS_ENDPOINT_URL_S3 names another server). Raises ConfigError when there
    is no such directory or bucket, StoreUnavailable when it goes away (with `follow` it waits instead).
    """
    if not is_s3(str(path)) and not Path(path).is_dir():
        raise ConfigError(f"{str(path)!r}: no such directory: give the one that holds the sidecars")
    store = open_store(StoreConfig(frames=str(path)))
    found = read_and_follow(store, stop or threading.Event()) if follow else SidecarReader(store).all()
    return (each.sidecar for each in found)


def read_and_follow(store: Store, stop: WaitableStop, config: IngestConfig | None = None) -> Iterator[FoundSidecar]:
    """Everything there is, in time order, then what is committed later, until `stop` is set. Waits for a store that is
    away."""
    config = config or IngestConfig()
    cursor = MemoryCursor()
    follower = Follower(store, cursor, config)
    yield from _first(follower.reader, cursor, config, stop)
    yield from follower.run(stop)


def _first(reader: SidecarReader, cursor: MemoryCursor, config: IngestConfig, stop: WaitableStop) -> Iterator[FoundSidecar]:
    """What is there at the start. What is committed behind the reading meanwhile is younger than `newest_listed`, to which
    the position is set in the end."""
    remembered = remembered_seconds(config)
    last: SortKey | None = None
    away = False
    while not stop.is_set():
        try:
            for number, found in enumerate(reader.all()):
                if stop.is_set():
                    return
                if last is None or found.sort_key > last:
                    last = found.sort_key
                    yield found
                    cursor.add(found.key, found.etag, found.modified)
                if number % _TIDY_EVERY == 0:
                    cursor.advance(cursor.position, reader.newest_listed - remembered)
        except StoreUnavailable as error:
            if not away:
                logger.warning("cannot read the sidecars, will try again: %s", error)
            away = True
            stop.wait(config.scan_seconds)
        else:
            cursor.advance(reader.newest_listed, reader.newest_listed - remembered)
            return
