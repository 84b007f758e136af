"""`framecap follow`: a store in; a line of JSON for each sidecar that is committed, as it comes, out."""

from __future__ import annotations

import logging
import sys

from framecap.app.parts import PollingStop, existing_store
from framecap.config import Config
from framecap.runtime.signals import stop_on_signals
from framecap.sidecars.follower import Follower, MemoryCursor
from framecap.sidecars.read_sidecars import read_and_follow
from framecap.telemetry import set_up_logging
from framecap.timeline.export.lines import json_line

logger = logging.getLogger(__name__)


def follow(config: Config, camera: str | None, everything: bool) -> int:
    """Print until SIGTERM or SIGINT; with `everything`, what is there already comes first."""
    set_up_logging(config.log.level, config.log.format)
    with stop_on_signals() as flag:
        stop = PollingStop(flag)
        store = existing_store(config.store)
        if everything:
            coming = read_and_follow(store, stop, config.ingest)
        else:
            follower = Follower(store, MemoryCursor(), config.ingest)
            follower.skip_what_is_there()
            coming = follower.run(stop)
        logger.info("following %s", store.address)
        for found in coming:
            if camera in (None, found.sidecar.frame.camera):
                sys.stdout.write(json_line(found.sidecar))
                sys.stdout.flush()
    return 0
