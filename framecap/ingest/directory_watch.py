"""File-system events in, hints out: "this file was closed", "look at this folder"; never relied on, replaced when dead.

Built on watchdog. A handler never raises (that would kill the observer), and the threads behind the observer are looked at,
because the observer stays alive when they die.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from framecap.telemetry import mask

logger = logging.getLogger(__name__)

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
]


class _Handler(FileSystemEventHandler):
    """Turns events into calls with keys. `on_file(key, finished)`: finished files were closed or renamed into place."""

    def __init__(self, root: str, on_file: Callable[[str, bool], None], on_folder: Callable[[str], None]) -> None:
        self._start = root.rstrip("/") + "/"
        self._on_file = on_file
        self._on_folder = on_folder

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._hint(event)
        except Exception:
            logger.exception("a hint was lost: the next scan finds what it was about")

    def _hint(self, event: FileSystemEvent) -> None:
        moved = isinstance(event, FileMovedEvent | DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if not path.startswith(self._start):
            return
        key = path[len(self._start) :]
        if event.is_directory:
            self._on_folder(f"{key}/")
        else:
            self._on_file(key, moved or isinstance(event, FileClosedEvent))


class DirectoryWatch:
    """An observer of everything below `root`, with new folders as they come."""

    def __init__(self, root: Path, on_file: Callable[[str, bool], None], on_folder: Callable[[str], None]) -> None:
        self._root = root
        self._handler = _Handler(str(root), on_file, on_folder)
        self._observer: Any = None
        self._inode = 0
        self._complained = False

    def start(self) -> bool:
        """Begin to watch; False (and one log line) where the system does not let us: the scans go on without hints."""
        # watchdog warns when a new folder's watch is registered twice, which is as it should be
        warnings.filterwarnings("ignore", message="Callback with id .* already exists", category=RuntimeWarning)
        observer = Observer()
        try:
            self._inode = self._root.stat().st_ino
            observer.schedule(self._handler, str(self._root), recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError as error:
            with suppress(Exception):  # a half-started observer of a library
                observer.stop()
            if not self._complained:
                self._complained = True
                logger.warning(
                    "no file-system events at %s (%s): frames are found by scans alone; "
                    "if a limit was reached, raise fs.inotify.max_user_watches or max_user_instances (sysctl)",
                    mask(str(self._root)),
                    error.strerror or error,
                )
            return False
        self._observer = observer
        self._complained = False
        return True

    def is_alive(self) -> bool:
        """Whether every thread behind the hints lives, and the root is still the folder that is watched."""
        if self._observer is None or not all(thread.is_alive() for thread in self._threads()):
            return False
        try:
            return self._root.stat().st_ino == self._inode
        except OSError:
            return False

    def _threads(self) -> list[threading.Thread]:
        """The observer, its emitters (none at all is as bad as a dead one), and what reads the kernel's events for them."""
        observer = self._observer
        reader = getattr(observer, "_inotify_fd", None)
        return [observer, *(observer.emitters or [threading.Thread()]), *([reader] if reader is not None else [])]

    def renew(self) -> bool:
        """Put a new observer in place of this one."""
        self._retire()
        return self.start()

    def stop(self) -> None:
        self._retire().join(5)

    def _retire(self) -> threading.Thread:
        """Stop the observer from a thread of its own: a broken one may never end, and nobody must wait for it."""
        observer, self._observer = self._observer, None
        thread = threading.Thread(target=_stop, args=(observer,), name="framecap-unwatch", daemon=True)
        thread.start()
        return thread


def _stop(observer: Any) -> None:
    with suppress(Exception):  # whatever state a broken observer is in
        observer.stop()
        observer.join()
