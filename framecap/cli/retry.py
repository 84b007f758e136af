"""`framecap retry` and `recaption`: a store and a choice of its done frames in; new sidecars, and an exit code, out."""

from __future__ import annotations

import json
import logging
import sys

from framecap.app import parts
from framecap.app.console import CaptionSummary, Console, printable
from framecap.captioning.caption import Captioner
from framecap.captioning.load import load_captioner
from framecap.cli.filters import known_camera
from framecap.config import Config
from framecap.errors import ConfigError
from framecap.frames import camera_of, parse_key
from framecap.runtime.signals import StopFlag, stop_on_signals
from framecap.sidecars.sidecar import Sidecar
from framecap.sidecars.status_reader import ReadSidecar
from framecap.telemetry import set_up_logging
from framecap.upkeep.recaption import RememberingFilter, WrittenBy
from framecap.upkeep.retry import FrameFilter, RetryFilter, RetryIngest, chosen_frames

logger = logging.getLogger(__name__)

_HASH_DIGITS = 12  # that tell models apart, and that --model takes


def retry(config: Config, camera: str | None, kind: str | None, dry_run: bool) -> int:
    """Caption the chosen failed frames again; with `dry_run` only show them."""
    choice = RetryFilter(camera, kind)
    return _show(config, choice) if dry_run else _retry(config, choice, load_captioner(config.captioning))


def recaption(config: Config, model: str, camera: str | None, dry_run: bool) -> int:
    """Caption the frames again whose captions `model` wrote; with `dry_run` only show them."""
    captioner = load_captioner(config.captioning)
    choice = RememberingFilter(WrittenBy(model, captioner.model.bundle_hash, camera))
    if not dry_run:
        return _retry(config, choice, captioner)
    exit_code = _show(config, choice)
    if not choice.chosen:
        if not any(map(choice.choice.names, choice.seen)):
            raise ConfigError(_why_nothing(choice))
        print(_why_nothing(choice), file=sys.stderr)
    return exit_code


def _why_nothing(choice: RememberingFilter) -> str:
    named = sorted(filter(choice.choice.names, choice.seen))
    if named:
        return f"{_shown(named)} is the model in use: nothing to do"
    there = f"there are: {_shown(sorted(choice.seen))}" if choice.seen else "there are none at all"
    return f"--model: no sidecar names model {choice.choice.model!r}; {there}"


def _shown(models: list[tuple[str, str]]) -> str:
    return ", ".join(f"{printable(name)} ({printable(bundle[:_HASH_DIGITS])})" for name, bundle in models)


def _show(config: Config, choice: FrameFilter) -> int:
    set_up_logging(config.log.level, config.log.format)
    store = parts.existing_store(config.store)
    known_camera(store, choice.camera)
    shown = 0
    with Console(config.log.format) as console:
        for read in chosen_frames(store, choice, config.ingest.shard):
            console.show_caption(_reported(read))
            shown += 1
    print(f"{shown:,} {'frame' if shown == 1 else 'frames'} would be captioned again", file=sys.stderr)
    return 0


def _retry(config: Config, choice: FrameFilter, captioner: Captioner) -> int:
    set_up_logging(config.log.level, config.log.format)
    store = parts.existing_store(config.store)
    known_camera(store, choice.camera)
    last: str | None = None

    def on_commit(sidecar: Sidecar) -> None:
        nonlocal last
        last = sidecar.frame.key
        console.show_caption(CaptionSummary.of(sidecar))
        console.expect_more(ingest.backlog().pending)

    finish = StopFlag()
    finish.set()
    ingest = RetryIngest(config.ingest, store, chosen_frames(store, choice, config.ingest.shard))
    with Console(config.log.format) as console, stop_on_signals() as stop:
        worked = parts.WorkerApp(config, store, ingest, captioner).run(stop, finish, on_commit)
        looked_at_all = not (ingest.failure or stop.is_set())
        if isinstance(choice, RememberingFilter) and not choice.chosen and looked_at_all:
            logger.warning("%s", _why_nothing(choice))
        console.summary(parts.summary(config, None, worked, last))
    return parts.exit_code(None, worked) or (1 if ingest.failure else 0)


def _reported(read: ReadSidecar) -> CaptionSummary:
    name = parse_key(read.frame.key)
    document = json.loads(read.data) if read.data and read.model else {}
    return CaptionSummary(
        status=read.status if read.model else "failed",
        key=read.frame.key,
        camera=camera_of(read.frame.key),
        captured_at=name.captured_at.isoformat(timespec="milliseconds") if name else "",
        position=None,
        caption=document.get("caption"),
        confidence=document.get("confidence"),
        uncertain=document.get("uncertain"),
        error=": ".join(filter(None, (read.kind, read.message))) or None,
    )
