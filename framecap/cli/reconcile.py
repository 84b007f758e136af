"""`framecap reconcile`: a bucket and its workers' queue in; how many forgotten frames were put on it out."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

from tqdm import tqdm

from framecap.app.parts import existing_store
from framecap.config import Config
from framecap.errors import ConfigError
from framecap.ingest.s3_events import bucket_address
from framecap.ingest.sqs import SqsQueue
from framecap.telemetry import set_up_logging
from framecap.upkeep import reconcile as upkeep
from framecap.upkeep.reconcile import Reconciled

logger = logging.getLogger(__name__)


def reconcile(config: Config, older_than: float, dry_run: bool) -> int:
    """Send what is forgotten; with `dry_run` only say how much that is."""
    set_up_logging(config.log.level, config.log.format)
    if config.ingest.queue is None:
        raise ConfigError(
            "reconcile puts forgotten frames on a queue: give --queue (without a queue, workers list the place)"
        )
    if not older_than >= 0:
        raise ConfigError(f"--older-than: {older_than:g}: seconds are expected, such as 900")
    address = bucket_address(config.store.frames)
    queue = SqsQueue(config.ingest.queue, config.store.s3)
    queue.check()
    store = existing_store(config.store)
    with tqdm(unit=" frames", file=sys.stderr, disable=None, leave=False) as bar:
        found = upkeep.reconcile(store, queue, address, older_than, dry_run, bar.update)
    print(_for_people(found, older_than, dry_run) if sys.stdout.isatty() else json.dumps(asdict(found)))
    return 0


def _for_people(found: Reconciled, older_than: float, dry_run: bool) -> str:
    text = f"{found.frames:,} frames, {found.old:,} of them without a sidecar for {older_than:g} s or longer"
    if not found.old:
        return f"{text}: nothing to do"
    if not found.forgotten:
        return f"{text}; the queue holds {found.waiting:,} messages: they wait there, nothing is sent"
    return f"{text}: " + ("they would be put on the queue" if dry_run else f"{found.sent:,} put on the queue")
