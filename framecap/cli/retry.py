"""`framecap retry`: a store and a choice of its failed frames in; their new sidecars, and an exit code, out."""

from __future__ import annotations

from framecap.cli import parts
from framecap.cli.console import Console, Said
from framecap.config import Config
from framecap.frames import camera_of, parse_key
from framecap.sidecar import Sidecar
from framecap.telemetry import set_up_logging
from framecap.upkeep.reading import Read
from framecap.upkeep.retry import Choice, RetryIngest, failed_frames
from framecap.worker.lifecycle import StopFlag, stop_on_signals


def retry(config: Config, camera: str | None, kind: str | None, dry_run: bool) -> int:
    """Caption the chosen frames again; with `dry_run` only show them."""
    set_up_logging(config.log.level, config.log.format)
    choice = Choice(camera, kind)
    store = parts.existing_store(config.store)
    if dry_run:
        with Console(config.log.format) as console:
            for read in failed_frames(store, choice, config.ingest.shard):
                console.said(_said(read))
        return 0
    last: str | None = None

    def on_commit(sidecar: Sidecar) -> None:
        nonlocal last
        last = sidecar.frame.key
        console.said(Said.of(sidecar))
        console.expect_more(ingest.backlog().pending)

    finish = StopFlag()
    finish.set()
    ingest = RetryIngest(config.ingest, store, failed_frames(store, choice, config.ingest.shard))
    with Console(config.log.format) as console, stop_on_signals() as stop:
        worked = parts.Work(config, store, ingest).run(stop, finish, on_commit)
        console.summary(parts.summary(config, None, worked, last))
    return parts.exit_code(None, worked) or (1 if ingest.trouble else 0)


def _said(read: Read) -> Said:
    name = parse_key(read.frame.key)
    return Said(
        status="failed",
        key=read.frame.key,
        camera=camera_of(read.frame.key),
        captured_at=name.captured_at.isoformat(timespec="milliseconds") if name else "",
        position=None,
        caption=None,
        confidence=None,
        uncertain=None,
        error=": ".join(filter(None, (read.kind, read.message))),
    )
