"""Which frames are pending: a configuration and a store in, leases out; by scans and hints, or by a queue of S3's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framecap.config import StoreConfig

if TYPE_CHECKING:
    from framecap.config import IngestConfig
    from framecap.ingest.base import Ingest
    from framecap.stores.base import Store

__all__ = ["open_ingest"]

_HERE = StoreConfig()
_CAPACITY = 64


def open_ingest(config: IngestConfig, store: Store, address: StoreConfig = _HERE, capacity: int = _CAPACITY) -> Ingest:
    """The ingest of a store. Raises ConfigError and MissingError.

    A queue, where one is configured, tells of `address`, and at most `capacity` messages of it are held at a time.
    A scan listens for hints where events tell of every change, or where the configuration says so.
    """
    if config.queue is not None:
        from framecap.ingest.queue import QueueIngest
        from framecap.ingest.s3_events import bucket_address
        from framecap.ingest.sqs import SqsQueue

        queue = SqsQueue(config.queue, address.s3, config.visibility_seconds / 3)
        return QueueIngest(config, queue, bucket_address(address.frames), store, capacity)
    from framecap.ingest.scanner import ScanIngest

    hinted = store.hints if config.hints == "auto" else config.hints == "on"
    return ScanIngest(config, store, store.directory if hinted else None)
