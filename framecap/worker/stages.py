"""A stage of the pipeline: jobs in, through threads that do one thing with each; what fails goes to a handler."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from framecap.worker.jobs import Job


class Stage:
    """`count` threads around one queue. The hand bounds how many jobs there are, so the queue need not."""

    def __init__(
        self, name: str, count: int, work: Callable[[Job], None], went_wrong: Callable[[Job, Exception], None]
    ) -> None:
        self._work = work
        self._went_wrong = went_wrong
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._over = False
        self.threads = [threading.Thread(target=self._run, name=f"{name} {n}", daemon=True) for n in range(count)]

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def end(self) -> None:
        """Let the threads end; what still waits in the queue is left undone."""
        self._over = True
        for _ in self.threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None and not self._over:
            try:
                self._work(job)
            except Exception as error:  # whatever it is, it stays with its frame
                self._went_wrong(job, error)
