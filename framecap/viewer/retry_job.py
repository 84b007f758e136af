"""Failed frames in; a worker in this process that captions them again, one such run at a time, and how it goes, out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from framecap.captioning.caption import Captioner
from framecap.config import IngestConfig, WorkerConfig
from framecap.errors import FramecapError
from framecap.runtime.signals import StopFlag
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.upkeep.retry import RetryIngest, failed_among
from framecap.worker.run import run_worker

logger = logging.getLogger(__name__)

_ENDING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RetryProgress:
    """Of the run that is under way, or of the last one: sidecars written, and how many of them are captions."""

    running: bool = False
    done: int = 0
    captioned: int = 0
    failure: str | None = None


@dataclass(frozen=True)
class RetryCallbacks:
    """Who is told: of each sidecar, of the end, and whenever the progress is another."""

    committed: Callable[[Sidecar], None]
    ended: Callable[[], None]
    changed: Callable[[], None]


class RetryJob:
    """What the button "retry" does: the same as `framecap retry`, with the page's model and one decoder."""

    def __init__(
        self,
        store: Store,
        captioner: Callable[[], Captioner],
        ingest: IngestConfig,
        worker: WorkerConfig,
        callbacks: RetryCallbacks,
    ) -> None:
        self._store = store
        self._captioner = captioner
        self._ingest_config = ingest
        self._worker_config = worker.model_copy(update={"decoders": 1, "grace_seconds": _ENDING_SECONDS})
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._stop = StopFlag()
        self._thread: threading.Thread | None = None
        self.progress = RetryProgress()

    def start(self, keys: Iterable[str]) -> bool:
        """Begin with these frames, those of them that are still failed; False when a run is under way."""
        with self._lock:
            if self.progress.running or self._stop.is_set():
                return False
            self.progress = RetryProgress(running=True)
            self._thread = threading.Thread(target=self._run, args=(keys,), name="retry", daemon=True)
            self._thread.start()
        self._callbacks.changed()
        return True

    def close(self) -> None:
        """End the run; what is in flight is finished, the rest stays failed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * _ENDING_SECONDS)

    def _run(self, keys: Iterable[str]) -> None:
        finish = StopFlag()
        finish.set()
        failure: str | None = None
        try:
            captioner = self._captioner()
            ingest = RetryIngest(self._ingest_config, self._store, failed_among(self._store, keys))
            ingest.start()
            try:
                run_worker(self._worker_config, self._store, ingest, captioner, self._stop, finish, self._committed)
            finally:
                ingest.close()
            failure = None if ingest.failure is None else str(ingest.failure)
        except FramecapError as error:
            failure = str(error)
        except Exception:
            logger.exception("retrying the failed frames has ended early")
            failure = "it ended early: see the log of framecap view"
        self.progress = replace(self.progress, running=False, failure=failure)
        self._callbacks.ended()
        self._callbacks.changed()

    def _committed(self, sidecar: Sidecar) -> None:
        captioned = self.progress.captioned + (sidecar.status in ("captioned", "duplicate"))
        self.progress = replace(self.progress, done=self.progress.done + 1, captioned=captioned)
        self._callbacks.committed(sidecar)
        self._callbacks.changed()
