"""`framecap refine`: takes a second look at the frames that deserve it, with a stronger captioner and within a budget."""

from __future__ import annotations

import logging
from datetime import timedelta

from framecap.app import parts
from framecap.app.refining import run_refiner
from framecap.config import Config
from framecap.refine.second_look import Outcome
from framecap.runtime.signals import StopFlag, stop_on_signals
from framecap.telemetry import set_up_logging

logger = logging.getLogger(__name__)


def refine(config: Config, *, once: bool, backlog: timedelta | None) -> int:
    """Follow and refine until SIGTERM; with `once` until no frame waits."""
    set_up_logging(config.log.level, config.log.format)
    finish = StopFlag()
    if once:
        finish.set()
    with stop_on_signals() as stop, parts.served(config.telemetry):
        summary = run_refiner(config, stop, finish, backlog_seconds=backlog.total_seconds() if backlog else 0.0)
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in summary.outcomes.items())
    logger.info("second looks: %s; %d frames wait", counts or "none", summary.waiting)
    return 1 if once and summary.outcomes.get(Outcome.FAILED.value) else 0
