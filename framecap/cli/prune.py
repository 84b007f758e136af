"""`framecap prune`: a store and an age in; what goes is shown, asked about, and deleted; an exit code out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime

from tqdm import tqdm

from framecap.app.console import printable, table
from framecap.app.parts import existing_store
from framecap.cli.filters import known_camera
from framecap.config import Config
from framecap.errors import ConfigError
from framecap.stores.base import Store
from framecap.telemetry import mask_all, set_up_logging
from framecap.upkeep import prune as upkeep
from framecap.upkeep.prune import Deleted, OldFrame, Pruned

_SHOWN_CAMERAS = 50


def prune(config: Config, old: OldFrame, dry_run: bool, yes: bool) -> int:
    """Delete what is old; with `dry_run` only show it; without `yes` ask first."""
    set_up_logging(config.log.level, config.log.format)
    asks = not (dry_run or yes)
    if asks and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("prune: nobody is here to be asked: give --yes to delete, or --dry-run to see what would go")
    store = existing_store(config.store)
    known_camera(store, old.camera)
    if asks:
        found = _look(store, old, dry_run=True)
        print(_for_people(store.address, old.before, found, "would go"))
        if not (found.everything.frames or found.orphans):
            return 0
        if not _agreed():
            print("nothing was deleted")
            return 0
    pruned = _look(store, old, dry_run)
    if sys.stdout.isatty():
        print(_for_people(store.address, old.before, pruned, "would go" if dry_run else "deleted"))
    else:
        print(_json(store.address, old.before, pruned, dry_run))
    return 0


def _agreed() -> bool:
    try:
        return input("Delete them? There is no way back. [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _look(store: Store, old: OldFrame, dry_run: bool) -> Pruned:
    with tqdm(unit=" frames", file=sys.stderr, disable=None, leave=False) as bar:
        return upkeep.prune(store, old, dry_run, bar.update)


def _json(address: str, before: datetime, pruned: Pruned, dry_run: bool) -> str:
    whole = {
        "address": address,
        "before": before.isoformat(timespec="milliseconds"),
        "dry_run": dry_run,
        **asdict(pruned.everything),
        "orphans": pruned.orphans,
        "kept_failed": pruned.kept_failed,
        "kept_pending": pruned.kept_pending,
        "kept_changed": pruned.kept_changed,
        "kept_foreign": pruned.kept_foreign,
        "cameras": {name: asdict(gone) for name, gone in sorted(pruned.cameras.items())},
    }
    return json.dumps(mask_all(whole), ensure_ascii=False)


def _for_people(address: str, before: datetime, pruned: Pruned, what: str) -> str:
    order = sorted(pruned.cameras.items(), key=lambda item: (-item[1].bytes, item[0]))
    rows = [_row(printable(name), gone) for name, gone in order[:_SHOWN_CAMERAS]]
    lines = [
        f"frames in {address} from before {before.astimezone():%Y-%m-%d %H:%M %Z}: {what}",
        "",
        *table([["camera", "frames", "size"], *rows, _row("all", pruned.everything)]),
    ]
    if len(order) > _SHOWN_CAMERAS:
        lines.insert(-1, f"({len(order) - _SHOWN_CAMERAS} cameras more)")
    counts = {
        f"sidecars without a frame: {what}": pruned.orphans,
        "failed frames: kept": pruned.kept_failed,
        "frames without a sidecar: kept (--pending takes them)": pruned.kept_pending,
        "frames that were replaced meanwhile: kept": pruned.kept_changed,
        "frames whose sidecar's name another program's file has: kept": pruned.kept_foreign,
    }
    notes = [f"{count:,} {text}" for text, count in counts.items() if count]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _row(name: str, gone: Deleted) -> list[str]:
    return [name, f"{gone.frames:,}", _size(gone.bytes)]


def _size(count: float) -> str:
    """Bytes, roughly, as a person says it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
