"""A store in; its newest sidecars, then all that are committed later, in one thread for all who look, out to the board."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from framecap.config import IngestConfig
from framecap.errors import StoreUnavailable
from framecap.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.timeline.follower import Follower, Given
from framecap.viewer.board import LAST, MAX_CAMERAS, Board
from framecap.viewer.catalogue import Catalogue
from framecap.viewer.shown import Shown
from framecap.viewer.standing import Watch
from framecap.viewer.start import opening_sidecars

logger = logging.getLogger(__name__)

_QUICK_SECONDS = 1.0  # between two looks at a directory, which cost nothing but time
_LOOK_BACK_SECONDS = 600.0  # the names of what was committed in it are in memory; an open page needs no more
_AGAIN_SECONDS = 5.0


class Feed:
    """Gives each sidecar to the board, and tells the watch and the catalogue of it."""

    def __init__(self, store: Store, config: IngestConfig, board: Board, watch: Watch, catalogue: Catalogue) -> None:
        self._store = store
        self._board = board
        self._watch = watch
        self._catalogue = catalogue
        short = {"look_back_seconds": min(_LOOK_BACK_SECONDS, config.look_back_seconds)}
        if store.directory is not None:
            short["scan_seconds"] = min(_QUICK_SECONDS, config.scan_seconds)
        config = config.model_copy(update=short)
        self._follower = Follower(store, Given(), config)
        self.opened = threading.Event()  # there is something to see, or the store is away

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. A store that is away is waited for."""
        known: dict[str, str] = {}
        while not stop.is_set():
            try:
                self._open(known, stop)
                self.opened.set()
                self._follower.skip_what_is_there()  # which lists everything
                self._open(known, stop)  # what was committed in between
                break
            except StoreUnavailable as error:
                logger.warning("cannot read the sidecars, will try again: %s", error)
                self.opened.set()
                stop.wait(_AGAIN_SECONDS)
        known.clear()
        for found in self._follower.run(stop):
            self.take(found.beside_its_frame())

    def _open(self, known: dict[str, str], stop: threading.Event) -> None:
        for sidecar in opening_sidecars(self._store, MAX_CAMERAS, LAST, known, datetime.now(UTC)):
            if stop.is_set():
                return
            self.take(sidecar)

    def take(self, sidecar: Sidecar) -> None:
        """A sidecar that was committed."""
        self._board.add(Shown.of(sidecar))
        self._watch.committed(sidecar.frame.key)
        self._catalogue.tell()
