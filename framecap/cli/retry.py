"""`framecap retry` and `recaption`: a store and a choice of its done frames in; new sidecars, and an exit code, out."""

from __future__ import annotations

import json

from framecap.captioning.caption import Captioner
from framecap.captioning.load import load_captioner
from framecap.cli import parts
from framecap.cli.console import Console, Said
from framecap.config import Config
from framecap.frames import camera_of, parse_key
from framecap.sidecar import Sidecar
from framecap.telemetry import set_up_logging
from framecap.upkeep.reading import Read
from framecap.upkeep.recaption import WrittenBy
from framecap.upkeep.retry import Choice, Chosen, RetryIngest, chosen_frames
from framecap.worker.lifecycle import StopFlag, stop_on_signals


def retry(config: Config, camera: str | None, kind: str | None, dry_run: bool) -> int:
    """Caption the chosen failed frames again; with `dry_run` only show them."""
    choice = Choice(camera, kind)
    return _show(config, choice) if dry_run else _again(config, choice, load_captioner(config.captioning))


def recaption(config: Config, model: str, camera: str | None, dry_run: bool) -> int:
    """Caption the frames again whose captions `model` wrote; with `dry_run` only show them."""
    captioner = load_captioner(config.captioning)
    choice = WrittenBy(model, captioner.model.bundle_hash, camera)
    return _show(config, choice) if dry_run else _again(config, choice, captioner)


def _show(config: Config, choice: Chosen) -> int:
    set_up_logging(config.log.level, config.log.format)
    store = parts.existing_store(config.store)
    with Console(config.log.format) as console:
        for read in chosen_frames(store, choice, config.ingest.shard):
            console.said(_said(read))
    return 0


def _again(config: Config, choice: Chosen, captioner: Captioner) -> int:
    set_up_logging(config.log.level, config.log.format)
    store = parts.existing_store(config.store)
    last: str | None = None

    def on_commit(sidecar: Sidecar) -> None:
        nonlocal last
        last = sidecar.frame.key
        console.said(Said.of(sidecar))
        console.expect_more(ingest.backlog().pending)

    finish = StopFlag()
    finish.set()
    ingest = RetryIngest(config.ingest, store, chosen_frames(store, choice, config.ingest.shard))
    with Console(config.log.format) as console, stop_on_signals() as stop:
        worked = parts.Work(config, store, ingest, captioner).run(stop, finish, on_commit)
        console.summary(parts.summary(config, None, worked, last))
    return parts.exit_code(None, worked) or (1 if ingest.trouble else 0)


def _said(read: Read) -> Said:
    name = parse_key(read.frame.key)
    document = json.loads(read.data) if read.data and read.model else {}
    return Said(
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
