"""A worker of its own for tests of signals: a directory, seconds per batch and the grace time in; a line per commit out."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from framecap.captioning.caption import Caption, Images
from framecap.config import WorkerConfig
from framecap.ingest import open_ingest
from framecap.runtime.signals import stop_on_signals
from framecap.worker.run import run_worker
from tests.worker.fakes import A_CAPTION, QUICK, ScriptedCaptioner, local_store


def main(root: str, seconds: float, grace: float) -> None:
    store = local_store(Path(root))
    ingest = open_ingest(QUICK, store)

    def answer(images: Images) -> Sequence[Caption]:
        print("captioning", flush=True)
        time.sleep(seconds)
        return [A_CAPTION] * len(images)

    config = WorkerConfig(decoders=2, batch_size=4, queue=16, grace_seconds=grace)
    with stop_on_signals() as stop:
        ingest.start()
        summary = run_worker(
            config,
            store,
            ingest,
            ScriptedCaptioner(answer),
            stop,
            threading.Event(),
            lambda made: print(made.frame.key, flush=True),
        )
        ingest.close()
    print("summary", summary.captioned, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
