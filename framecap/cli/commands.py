"""What each command does: a configuration in, an exit code out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from framecap.app import parts
from framecap.app.console import CaptionSummary, Console
from framecap.config import Config
from framecap.runtime.signals import StopFlag, reload_on_sighup, stop_on_signals
from framecap.sidecars.sidecar import Sidecar
from framecap.telemetry import set_up_logging
from framecap.worker.reload import Reload

logger = logging.getLogger(__name__)


def run(config: Config, read_again: Callable[[], Config], *, refine: bool = False) -> int:
    """Capture and caption, in two processes. SIGHUP takes the model that `read_again` names by then."""
    from framecap.app.supervisor import run_supervised

    set_up_logging(config.log.level, config.log.format)
    with Console(config.log.format) as console:
        return run_supervised(config, console, read_again, refine=refine)


def capture(config: Config) -> int:
    """Capture only."""
    set_up_logging(config.log.level, config.log.format)
    with Console(config.log.format) as console, stop_on_signals() as stop, parts.served(config.telemetry):
        captured = parts.capture(config, stop, lambda key: console.advance())
        console.summary(parts.summary(config, captured, None, None))
    return parts.exit_code(captured, None) or int(captured.unfinished)


def work(config: Config, once: bool, read_again: Callable[[], Config]) -> int:
    """Caption only; with `once` until nothing is pending. SIGHUP takes the model that `read_again` names by then."""
    set_up_logging(config.log.level, config.log.format)
    finish = StopFlag()
    if once:
        finish.set()
    last: str | None = None
    reload = Reload(lambda: parts.load_another(read_again().captioning))

    with (
        Console(config.log.format) as console,
        stop_on_signals() as stop,
        reload_on_sighup(reload.ask, stop),
        parts.served(config.telemetry),
    ):
        work = parts.open_work(config, reload, new_store=logging.WARNING)  # a mistyped place looks like one without frames
        logger.info("captioning the frames in %s with %s (%s)", work.address, work.model.name, work.model.runtime)

        def on_commit(sidecar: Sidecar) -> None:
            nonlocal last
            last = sidecar.frame.key
            console.show_caption(CaptionSummary.of(sidecar))
            console.expect_more(work.backlog().pending)

        worked = work.run(stop, finish, on_commit)
        console.summary(parts.summary(config, None, worked, last))
    return parts.exit_code(None, worked)
