"""A worker on a queue, in a process of its own, for tests of kills: a bucket's address, a queue's URL and a log in.

It appends a line to the log for each frame that it captioned, committed, or found committed by another. The schema asks for
a visibility of ten seconds or more; a test has no time for that.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from framecap.captioning.caption import Caption, Images
from framecap.config import IngestConfig, S3Config, StoreConfig, WorkerConfig
from framecap.ingest import open_ingest
from framecap.ingest import queue as queue_module
from framecap.runtime.signals import stop_on_signals
from framecap.stores import open_store
from framecap.stores.base import CommitResult, Store
from framecap.worker.run import run_worker
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner

SECONDS_A_IMAGE = 0.004


class _LoggedStore:
    """Says what came of each commit."""

    def __init__(self, store: Store, log: int) -> None:
        self._store = store
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_sidecar(self, key: str, data: bytes) -> CommitResult:
        outcome = self._store.commit_sidecar(key, data)
        os.write(self._log, f"{outcome.value} {key}\n".encode())
        return outcome


def main(frames: str, queue: str, endpoint: str, log_path: str, visibility: int) -> None:
    queue_module.SLOW_POLL_SECONDS = 1
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    address = StoreConfig(frames=frames, s3=S3Config(endpoint=endpoint, path_style=True, region="us-east-1"))
    store: Any = _LoggedStore(open_store(address), log)
    config = WorkerConfig(decoders=1, batch_size=8, queue=32)
    looking = IngestConfig(queue=queue).model_copy(update={"visibility_seconds": visibility})

    def answer(images: Images) -> Sequence[Caption]:
        time.sleep(SECONDS_A_IMAGE * len(images))
        os.write(log, b"captioned\n" * len(images))
        return [A_CAPTION] * len(images)

    with stop_on_signals() as stop:
        ingest = open_ingest(looking, store, address, config.queue)
        ingest.start()
        run_worker(config, store, ingest, ScriptedCaptioner(answer), stop, threading.Event())
        ingest.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
