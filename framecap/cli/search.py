"""`framecap search`: words in; the captions in which they are, with time, camera and frame, out."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from datetime import datetime

from tqdm import tqdm

from framecap.app.console import clock, printable, sureness
from framecap.app.parts import existing_store, frame_address
from framecap.cli.filters import sidecar_filter
from framecap.config import Config, StoreConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.telemetry import mask_all, set_up_logging
from framecap.timeline.search.hits import Hit
from framecap.timeline.search.index import Index, open_index

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What was typed: words, filters, how many, the newest first or the best, whether everything is looked at first."""

    words: str
    camera: str | None
    since: str | None
    until: str | None
    limit: int
    newest: bool
    refresh: bool


def search(config: Config, asked: SearchRequest, as_json: bool) -> int:
    """Bring the index up to date, and print what is found."""
    set_up_logging(config.log.level, config.log.format)
    if asked.limit < 1:
        raise ConfigError("--limit: 1 or more is expected")
    store = existing_store(config.store)
    chosen = sidecar_filter(store, asked.camera, asked.since, asked.until)
    index = open_index(store, config.store, config.timeline, config.ingest)
    _update(index, asked.refresh)
    page = index.search(asked.words, chosen.camera, chosen.since, chosen.until, asked.limit, asked.newest)
    for hit in page.hits:
        print(_json(hit, config.store) if as_json else _for_people(hit, config.store))
    if not as_json and not page.hits:
        print("nothing found", file=sys.stderr)
    elif not as_json and page.more:
        print(f"{len(page.hits)} or more found: --limit shows more at a time, --until earlier ones", file=sys.stderr)
    return 0


def _update(index: Index, full: bool) -> None:
    with tqdm(desc="reading new sidecars", unit="", file=sys.stderr, disable=None, leave=False, delay=0.5) as bar:
        try:
            updated = index.update(full, bar.update)
        except StoreUnavailable as error:
            logger.warning("the index cannot be brought up to date, what it has is searched: %s", error)
            return
    if updated.busy:
        logger.warning("another process is bringing the index up to date: what it has by now is searched")


def _json(hit: Hit, where: StoreConfig) -> str:
    line = {
        "camera": hit.camera,
        "start": _iso(hit.start),
        "end": _iso(hit.end),
        "position": hit.position,
        "caption": hit.caption,
        "confidence": hit.confidence,
        "uncertain": hit.uncertain,
        "frames": hit.frames,
        "key": hit.key,
        "frame": frame_address(where, hit.key),
        "score": round(hit.score, 4),
    }
    return json.dumps(mask_all(line), ensure_ascii=False)


def _for_people(hit: Hit, where: StoreConfig) -> str:
    """Two lines: when, where, what; and the frame that shows it best."""
    begin, end = (at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z") for at in (hit.start, hit.end))
    when = begin if begin == end else f"{begin} to {end[11:] if end[:10] == begin[:10] else end}"
    within = "" if hit.position is None else f" ({clock(hit.position)})"
    what = f"{hit.camera}  {when}{within}  {hit.caption}{sureness(hit.confidence, hit.uncertain)}"
    return f"{printable(what)}\n    {printable(frame_address(where, hit.key))}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
