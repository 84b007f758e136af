"""`framecap refine`: takes a second look at the frames that deserve it, with a stronger captioner and within a budget."""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import timedelta
from pathlib import Path

from framecap.app import parts
from framecap.captioning.load import load_captioner
from framecap.config import Config
from framecap.errors import ConfigError
from framecap.refine.refiner import Refiner, RefineSummary, share_of_budget
from framecap.refine.second_look import Outcome
from framecap.refine.state import RefineState
from framecap.runtime.signals import stop_on_signals
from framecap.stores.base import Store
from framecap.telemetry import set_up_logging

logger = logging.getLogger(__name__)


def refine(config: Config, *, once: bool, backlog: timedelta | None) -> int:
    """Follow and refine until SIGTERM; with `once` until no frame waits."""
    set_up_logging(config.log.level, config.log.format)
    with stop_on_signals() as stop, parts.served(config.telemetry):
        summary = run_refiner(config, parts.PollingStop(stop), once=once, backlog=backlog)
    logger.info("second looks: %s; %d frames wait", _counts(summary), summary.waiting)
    return 1 if once and summary.outcomes.get(Outcome.FAILED.value) else 0


def run_refiner(config: Config, stop: parts.PollingStop, *, once: bool, backlog: timedelta | None) -> RefineSummary:
    """Run a refiner as the configuration says.

    Raises:
        ConfigError: nothing is configured to look again, or another refiner uses the same state.
        MissingError: the second captioner needs a package that is not installed.
    """
    if config.refine.captioner is None:
        raise ConfigError(
            "refine.captioner: not set: name what looks again, such as "
            "{kind: openai, openai: {base_url: http://127.0.0.1:11434/v1, model: qwen3-vl:8b}} (docs/refine.md)"
        )
    store = parts.existing_store(config.store)
    state = RefineState(
        state_folder(config, store), store.address, share_of_budget(config.refine.budget, config.ingest.shard)
    )
    try:
        state.own()
        captioner = load_captioner(config.refine.captioner)
        logger.info(
            "second looks at the frames in %s by %s (%s)", store.address, captioner.model.name, captioner.model.runtime
        )
        refiner = Refiner(config, store, state, captioner)
        return refiner.run(stop, once=once, backlog_seconds=backlog.total_seconds() if backlog else 0.0)
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


def _counts(summary: RefineSummary) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in summary.outcomes.items()) or "none"
