"""A queue and a directory in; its ingest started, leases of it, or a whole worker on it, out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from framecap.config import IngestConfig, S3Config, WorkerConfig
from framecap.ingest import queue as queue_module
from framecap.ingest.base import Ingest
from framecap.ingest.queue import QueueIngest
from framecap.ingest.sqs import SqsQueue
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.s3_client import S3Address
from framecap.worker.run import WorkSummary, run_worker
from tests.sqs import TestQueue
from tests.worker.fakes import A_CAPTION, RecordedIngest, RecordedLease, ScriptedCaptioner, local_store
from tests.worker.images import encoded, scene

ADDRESS = S3Address("a-bucket", "cams/")
GOOD = encoded(scene(32, 24))
SOON = 20.0  # seconds: more than anything here takes on a busy machine


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "SLOW_POLL_SECONDS", 1)
    monkeypatch.setattr(queue_module, "_COUNT_SECONDS", 0.2)


def settings(visibility: int = 30, settle: float = 0.3) -> IngestConfig:
    """The schema asks for ten seconds or more: tests have no time for that."""
    return IngestConfig(settle_seconds=settle).model_copy(update={"visibility_seconds": visibility})


def make_ingest(root: Path, queue: TestQueue, config: IngestConfig | None = None, capacity: int = 64) -> QueueIngest:
    config = config or settings()
    sqs = SqsQueue(queue.url, S3Config(attempts=2), config.visibility_seconds / 3)
    return QueueIngest(config, sqs, ADDRESS, local_store(root), capacity)


@contextmanager
def started(ingest: QueueIngest) -> Iterator[QueueIngest]:
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.close()


def wait_for(holds: Callable[[], object], seconds: float = SOON) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)


def leased(ingest: Ingest, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ends = time.monotonic() + SOON
    while len(found) < count:
        assert time.monotonic() < ends, f"{len(found)} of {count} frames came"
        lease = ingest.lease(0.5)
        if lease is not None:
            assert lease.entry.key not in found
            found[lease.entry.key] = lease
    return found


@dataclass
class Worked:
    summary: WorkSummary
    committed: list[Sidecar]
    leases: list[RecordedLease]


class _Done:
    """A flag that is set when so many leases are done; never, when it is None."""

    def __init__(self, ingest: RecordedIngest, count: int | None) -> None:
        self._ingest, self._count = ingest, count

    def is_set(self) -> bool:
        return self._count is not None and sum("done" in lease.ended for lease in self._ingest.leases) >= self._count


def work(root: Path, ingest: QueueIngest, captioner: ScriptedCaptioner, frames: int | None = None) -> Worked:
    """Run a worker until it has done so many frames, or (as --once) until the queue was empty for a whole poll."""
    recorded = RecordedIngest(ingest)
    committed: list[Sidecar] = []
    finish = threading.Event()
    finish.set()
    config = WorkerConfig(decoders=1, batch_size=8, queue=16)
    with started(ingest):
        stop = _Done(recorded, frames)
        summary = run_worker(config, local_store(root), recorded, captioner, stop, finish, committed.append)
    return Worked(summary, committed, recorded.leases)


def captioner() -> ScriptedCaptioner:
    return ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))
