"""Builds a refiner from a configuration and runs it: what `framecap refine` and `framecap run --refine` share."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from framecap.app import parts
from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, Config
from framecap.errors import ConfigError
from framecap.refine.refiner import Refiner, RefineSummary, share_of_budget
from framecap.refine.state import RefineState
from framecap.runtime.stop import StopRequest
from framecap.stores.base import Store

logger = logging.getLogger(__name__)


def second_captioner(config: Config) -> CaptioningConfig:
    """Return the configuration of what looks again. Raises ConfigError where there is none."""
    if config.refine.captioner is None:
        raise ConfigError(
            "refine.captioner: not set: name what looks again, such as "
            "{kind: openai, openai: {base_url: http://127.0.0.1:11434/v1, model: qwen3-vl:8b}} (docs/refine.md)"
        )
    return config.refine.captioner


def run_refiner(config: Config, stop: StopRequest, finish: StopRequest, *, backlog_seconds: float = 0.0) -> RefineSummary:
    """Run a refiner until `stop`, or until nothing waits once `finish` is set.

    Raises:
        ConfigError: nothing is configured to look again, or another refiner uses the same state.
        MissingError: the second captioner needs a package that is not installed.
    """
    captioning = second_captioner(config)
    store = parts.existing_store(config.store)
    budget = share_of_budget(config.refine.budget, config.ingest.shard)
    state = RefineState(state_folder(config, store), store.address, budget)
    try:
        state.own()
        captioner = load_captioner(captioning)
        model = captioner.model
        logger.info("second looks at the frames in %s by %s (%s)", store.address, model.name, model.runtime)
        refiner = Refiner(config, store, state, captioner)
        return refiner.run(parts.PollingStop(stop), finish, backlog_seconds=backlog_seconds)
    finally:
        state.close()


def state_folder(config: Config, store: Store) -> Path:
    """Return where a store's refiner keeps its state; each shard has a folder of its own."""
    try:
        if config.refine.state is not None:
            folder = Path(config.refine.state).expanduser()
        else:
            home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
            folder = home / "framecap" / "refine" / hashlib.sha256(store.address.encode()).hexdigest()[:12]
    except RuntimeError:
        raise ConfigError("refine.state: this user has no home directory: give a directory on a local disk") from None
    return folder if config.ingest.shard is None else folder / f"shard-{config.ingest.shard.replace('/', '-of-')}"
