"""A store and the queue of its workers in; the frames that no event told of (or whose message was lost) on the queue out.

No frame is read. A frame that waits in the queue has no sidecar either: only when the queue holds fewer messages than there
are frames without a sidecar, some are forgotten. Which ones nobody knows: all are sent, and a frame that has its sidecar by
the time its message comes costs a look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from framecap.errors import QueueUnavailable
from framecap.ingest.s3_events import created_body
from framecap.ingest.sqs import BATCH, SqsQueue
from framecap.stores.base import Entry, Store
from framecap.stores.listing import pairs
from framecap.stores.s3_client import S3Address

logger = logging.getLogger(__name__)

_TRIES = 5  # of a message that the queue did not take
_FIRST_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Frames listed; of those without a sidecar the old and the young ones; messages waiting before; messages sent."""

    frames: int
    old: int
    young: int
    waiting: int
    sent: int

    @property
    def forgotten(self) -> bool:
        """Whether frames without a sidecar are more than the queue knows of."""
        return self.old > 0 and self.waiting < self.old + self.young


def reconcile(
    store: Store, queue: SqsQueue, address: S3Address, older_than: float, dry_run: bool, on_frame: Callable[[], object]
) -> Reconciled:
    """Send what is forgotten and has been there for `older_than` seconds. Raises StoreUnavailable and QueueUnavailable."""
    before = time.time() - older_than
    frames = old = young = 0
    for frame, is_done in _standing(store):
        on_frame()
        frames += 1
        if not is_done:
            old, young = (old + 1, young) if frame.modified <= before else (old, young + 1)
    there = queue.waiting()
    found = Reconciled(frames, old, young, there.visible + there.in_flight + there.delayed, 0)
    if dry_run or not found.forgotten:
        return found
    pending = (frame for frame, is_done in _standing(store) if not is_done and frame.modified <= before)
    return Reconciled(frames, old, young, found.waiting, _send(queue, address, pending))


def _standing(store: Store) -> Iterator[tuple[Entry, bool]]:
    """Each frame, and whether it has its sidecar."""
    for frame, sidecar in pairs(store.list()):
        yield frame, sidecar is not None and sidecar.size > 0


def _send(queue: SqsQueue, address: S3Address, frames: Iterator[Entry]) -> int:
    sent = 0
    while batch := list(islice(frames, BATCH)):
        bodies = [
            created_body(address, frame.key, frame.size, datetime.fromtimestamp(frame.modified, UTC)) for frame in batch
        ]
        for attempt in range(_TRIES):
            bodies = [bodies[index] for index in queue.send(bodies)]
            if not bodies:
                break
            time.sleep(_FIRST_WAIT_SECONDS * 2.0**attempt)
        else:
            raise QueueUnavailable(
                f"the queue took {sent + len(batch) - len(bodies)} messages and then refused: run it again"
            )
        sent += len(batch)
    return sent
