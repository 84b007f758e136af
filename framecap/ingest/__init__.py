"""Which frames are pending: a configuration and a store in, leases out; the scan is the truth, hints bring keys forward.

Queues (SQS) will be `ingest/queue.py`, opened here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framecap.config import IngestConfig
    from framecap.ingest.base import Ingest
    from framecap.stores.base import Store

__all__ = ["open_ingest"]


def open_ingest(config: IngestConfig, store: Store) -> Ingest:
    """The ingest of a store. It listens for hints where events tell of every change, or where the configuration says so."""
    from framecap.ingest.scanner import ScanIngest

    hinted = store.hints if config.hints == "auto" else config.hints == "on"
    return ScanIngest(config, store, store.directory if hinted else None)
