"""A store in; its newest sidecars, then all that are committed later, in one thread for all who look, out to the live
state."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from framecap.config import IngestConfig
from framecap.errors import StoreUnavailable
from framecap.sidecars.follower import Follower, MemoryCursor
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.viewer.catalogue import Catalogue
from framecap.viewer.initial_state import opening_sidecars
from framecap.viewer.live_frame import LiveFrame
from framecap.viewer.live_state import LAST, MAX_CAMERAS, LiveState
from framecap.viewer.store_status import StoreStatusWatcher

logger = logging.getLogger(__name__)

_QUICK_SECONDS = 1.0  # between two looks at a directory, which cost nothing but time
_LOOKBACK_SECONDS = 600.0  # the names of what was committed in it are in memory; an open page needs no more
_AGAIN_SECONDS = 5.0


class Feed:
    """Gives each sidecar to the live state, and tells the watch and the catalogue of it."""

    def __init__(
        self, store: Store, config: IngestConfig, live_state: LiveState, watch: StoreStatusWatcher, catalogue: Catalogue
    ) -> None:
        self._store = store
        self._live_state = live_state
        self._watch = watch
        self._catalogue = catalogue
        short = {"lookback_seconds": min(_LOOKBACK_SECONDS, config.lookback_seconds)}
        if store.directory is not None:
            short["scan_seconds"] = min(_QUICK_SECONDS, config.scan_seconds)
        config = config.model_copy(update=short)
        self._follower = Follower(store, MemoryCursor(), config)
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
        self._live_state.add(LiveFrame.of(sidecar))
        self._watch.committed(sidecar.frame.key)
        self._catalogue.tell()
