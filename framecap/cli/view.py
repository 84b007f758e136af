"""`framecap view`: a configuration in; the live page served until a signal, and an exit code, out."""

from __future__ import annotations

import logging
import sys
import time
from importlib.util import find_spec

from framecap.app import parts
from framecap.config import Config, StoreConfig
from framecap.errors import MissingError
from framecap.runtime.signals import stop_on_signals
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.telemetry import set_up_logging

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


def view(config: Config) -> int:
    """Serve the page until SIGTERM or SIGINT."""
    set_up_logging(config.log.level, config.log.format)
    _need_packages()
    from framecap.viewer.serve import serving

    with stop_on_signals() as stop, serving(config, _store(config.store)) as address:
        print(f"the page is open at {address} (Ctrl-C ends it)" if sys.stdout.isatty() else address, flush=True)
        while not stop.is_set():
            time.sleep(_POLL_SECONDS)
    return 0


def _store(config: StoreConfig) -> Store:
    """Whoever names no place may look before the first frame is there."""
    return open_store(config) if config.frames == StoreConfig().frames else parts.existing_store(config)


def _need_packages() -> None:
    missing = [package for package in ("starlette", "uvicorn") if find_spec(package) is None]
    if missing:
        raise MissingError(f"view: {' and '.join(missing)} not installed: pip install 'framecap[viewer]'")
