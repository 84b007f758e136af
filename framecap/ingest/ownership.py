"""Finds frames whose sidecar's name is taken by another program's file, and reports them: such a frame gets no sidecar.

A listing cannot tell the two apart, so the sidecars of foreign keys are opened, each once, in threads of their own: no scan
waits for that. Own keys are not looked at: no other program knows their names.
"""

from __future__ import annotations

import logging
import queue
import threading

from framecap.errors import FramecapError
from framecap.frames import parse_key
from framecap.sidecars.sidecar import is_foreign
from framecap.stores.base import Entry, Store
from framecap.telemetry import foreign_sidecars

logger = logging.getLogger(__name__)

_READERS = 8  # threads: on a mount or a bucket a read waits for the network
_WAITING = 20_000  # sidecars that wait to be opened; what has no room comes with the next full scan
_MAX_LOGGED = 1000  # folders


class Ownership:
    """Remembers whose the files are that have sidecars' names. `check` is called by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[int] = set()  # hashes of key and etag: a listing of a million is 60 MB
        self._foreign: set[str] = set()  # frames
        self._folders: set[str] = set()  # which were logged
        self._lock = threading.Lock()
        self._queue: queue.Queue[tuple[Entry, int] | None] = queue.Queue(_WAITING)
        self._skipped = False
        self._ending = False
        count = 1 if store.hints else _READERS
        self._threads = [threading.Thread(target=self._run, name=f"owners {n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ending = True
        for _ in self._threads:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return  # they see that it is the end with what they take next

    def begin_full_scan(self) -> None:
        """Every sidecar is about to be listed."""
        self._skipped = False

    def check(self, frame: Entry, sidecar: Entry) -> None:
        """A frame was listed with what has its sidecar's name."""
        if parse_key(frame.key) is not None:
            return
        mark = hash((sidecar.key, sidecar.etag))
        if mark in self._known:
            return
        try:
            self._queue.put_nowait((frame, mark))
        except queue.Full:
            self._skipped = True
        else:
            self._known.add(mark)

    @property
    def complete(self) -> bool:
        """Whether everything that was taken in is looked at."""
        return self._queue.unfinished_tasks == 0

    @property
    def skipped(self) -> bool:
        """Whether some sidecars of the last full scan had no room to wait."""
        return self._skipped

    def _run(self) -> None:
        while (item := self._queue.get()) is not None and not self._ending:
            frame, mark = item
            try:
                data = self._store.read_sidecar(frame.key)
                self._report(frame.key, data is not None and is_foreign(data))
            except FramecapError as error:
                self._known.discard(mark)  # it is opened again with the next scan
                logger.debug("%s: its sidecar could not be opened: %s", frame.key, error)
            finally:
                self._queue.task_done()

    def _report(self, key: str, foreign: bool) -> None:
        with self._lock:
            if not foreign:
                self._foreign.discard(key)
            else:
                self._foreign.add(key)
                folder = key.rpartition("/")[0]
                if folder not in self._folders and len(self._folders) < _MAX_LOGGED:
                    self._folders.add(folder)
                    logger.warning(
                        "%s: another program's file has the name of its sidecar and stays as it is; frames like this one in "
                        "its folder get no caption: set store.sidecars to keep sidecars elsewhere",
                        ascii(key),
                    )
            foreign_sidecars.set(len(self._foreign))
