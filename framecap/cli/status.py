"""`framecap status`: a store in; a table for people, or JSON, out."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from framecap.app.console import printable, table
from framecap.app.parts import existing_store
from framecap.config import Config
from framecap.sidecars.status_reader import FOREIGN, TORN
from framecap.telemetry import mask_all, set_up_logging
from framecap.upkeep.status import STATUSES, FrameCounts, StoreStatus, list_status, read_status

_SHOWN_CAMERAS = 50
_USUAL = ("captioned", "failed")  # shown though there be none


def status(config: Config, quick: bool, as_json: bool) -> int:
    """Print how the frames of the configured store stand."""
    set_up_logging(config.log.level, config.log.format)
    store = existing_store(config.store)
    with tqdm(unit=" frames", file=sys.stderr, disable=None, leave=False) as bar:
        found = (list_status if quick else read_status)(store, bar.update)
    now = time.time()
    print(_json(store.address, found, quick, now) if as_json else _for_people(store.address, found, quick, now))
    return 0


def _json(address: str, found: StoreStatus, quick: bool, now: float) -> str:
    whole = {
        "frames": address,
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        **_numbers(found.everything, quick, now),
        "cameras": {name: _numbers(counts, quick, now) for name, counts in sorted(found.cameras.items())},
    }
    if not quick:
        whole["failed_kinds"] = dict(found.kinds.most_common())
    return json.dumps(mask_all(whole), ensure_ascii=False, indent=1)


def _numbers(counts: FrameCounts, quick: bool, now: float) -> dict[str, Any]:
    statuses = {} if quick else {name: counts.statuses[name] for name in STATUSES}
    age = None if counts.oldest_pending is None else round(max(0.0, now - counts.oldest_pending), 3)
    return {"pending": counts.pending, "oldest_pending_seconds": age, "done": counts.done, **statuses}


def _for_people(address: str, found: StoreStatus, quick: bool, now: float) -> str:
    shown = [] if quick else [name for name in STATUSES if found.everything.statuses[name] or name in _USUAL]
    header = ["camera", "pending", "oldest pending", "done", *shown]
    order = sorted(found.cameras.items(), key=lambda item: (-item[1].pending, -item[1].statuses["failed"], item[0]))
    rows = [[printable(name), *_cells(counts, shown, now)] for name, counts in order[:_SHOWN_CAMERAS]]
    total = ["all", *_cells(found.everything, shown, now)]
    lines = [f"frames in {address}", "", *table([header, *rows, total])]
    if len(order) > _SHOWN_CAMERAS:
        lines.insert(-1, f"({len(order) - _SHOWN_CAMERAS} cameras more: --json shows them)")
    if found.kinds:
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in found.kinds.most_common())
        lines += ["", f"{'failed or torn' if found.kinds[TORN] else 'failed'}: {kinds} (framecap retry does them again)"]
    if foreign := found.everything.statuses[FOREIGN]:
        lines += [
            "",
            f"{foreign:,} frames get no caption: another program's file has their sidecar's name (set store.sidecars)",
        ]
    return "\n".join(lines)


def _cells(counts: FrameCounts, shown: list[str], now: float) -> list[str]:
    age = "" if counts.oldest_pending is None else _age(now - counts.oldest_pending)
    return [f"{counts.pending:,}", age, f"{counts.done:,}", *(f"{counts.statuses[name]:,}" for name in shown)]


def _age(seconds: float) -> str:
    """Roughly, as a person says it."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
