"""Matches of a search, the newest first, in; hits out: neighbours that say the same put together, and ranked if wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from framecap.timeline.segments import same_words

MARK, UNMARK = "\x02", "\x03"  # around the words that were asked for
RANKED_AMONG = 200  # the newest hits
_MATCHES_AT_MOST = 10_000  # are looked at, whatever they make
_MARKED = re.compile(f"{MARK}([^{UNMARK}]*){UNMARK}")


@dataclass(frozen=True, slots=True)
class Match:
    """One caption of one frame; `id` is that of its row."""

    id: int
    key: str
    camera: str
    at: datetime
    caption: str
    confidence: float | None
    uncertain: bool | None
    position: float | None


Marker = Callable[[list[Match]], dict[str, str]]  # captions, and the same with marks around the words that were asked for


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found: successive matches of one camera that say the same, `start` to `end` (both are frames' times).

    `key`, `caption`, `confidence`, `uncertain` and `position` are those of the surest frame. `parts` is the caption in
    pieces, each with whether it was asked for; `score` (0 to 1) tells the part of its words that were, times the confidence
    (where there is one).
    """

    camera: str
    start: datetime
    end: datetime
    key: str
    caption: str
    confidence: float | None
    uncertain: bool | None
    position: float | None
    frames: int
    parts: tuple[tuple[str, bool], ...]
    score: float


@dataclass(frozen=True, slots=True)
class HitPage:
    """Some of what was found; whether there is more; and, of the newest first, the place from which on the next page goes
    (None: there is none)."""

    hits: list[Hit]
    more: bool = False
    before: int | None = None


@dataclass(slots=True)
class _Group:
    surest: Match
    start: datetime
    end: datetime
    frames: int = 1
    words: str = field(default="")

    def takes(self, match: Match, gap: float) -> bool:
        return (self.start - match.at).total_seconds() <= gap and same_words(match.caption) == self.words

    def add(self, match: Match) -> None:
        self.start = match.at
        self.frames += 1
        if (match.confidence or 0.0) > (self.surest.confidence or 0.0):
            self.surest = match

    def hit(self, marked_captions: dict[str, str]) -> Hit:
        surest = self.surest
        marked = marked_captions.get(surest.caption, surest.caption)  # none: replaced meanwhile
        asked_for = sum(len(part.split()) for part in _MARKED.findall(marked))
        return Hit(
            camera=surest.camera,
            start=self.start,
            end=self.end,
            key=surest.key,
            caption=surest.caption,
            confidence=surest.confidence,
            uncertain=surest.uncertain,
            position=surest.position,
            frames=self.frames,
            parts=_parts(marked),
            score=asked_for
            / max(1, len(surest.caption.split()))
            * (1.0 if surest.confidence is None else surest.confidence),
        )


def gather(matches: Iterator[Match], mark: Marker, gap: float, limit: int) -> HitPage:
    """The newest `limit` hits, the newest first; `gap` in seconds. The next page begins with the first match that is in none
    of them."""
    groups: list[_Group] = []
    open_groups: dict[str, _Group] = {}
    unused: Match | None = None
    for number, match in enumerate(matches):
        there = open_groups.get(match.camera)
        goes_on = there is not None and there.takes(match, gap)
        if number == _MATCHES_AT_MOST or (len(groups) == limit and not goes_on):
            unused = match
            break
        if there is not None and goes_on:
            there.add(match)
        else:
            there = _Group(match, match.at, match.at, words=same_words(match.caption))
            open_groups[match.camera] = there
            groups.append(there)
    marked = mark([group.surest for group in groups])
    return HitPage([group.hit(marked) for group in groups], unused is not None, None if unused is None else unused.id)


def ranked(matches: Iterator[Match], mark: Marker, gap: float, limit: int) -> HitPage:
    """The best `limit` of the newest hits, the best first; of equals the newest."""
    newest = gather(matches, mark, gap, max(limit, RANKED_AMONG))
    best = sorted(newest.hits, key=lambda hit: -hit.score)
    return HitPage(best[:limit], newest.more or len(best) > limit)


def _parts(marked: str) -> tuple[tuple[str, bool], ...]:
    pieces = re.split(f"[{MARK}{UNMARK}]", marked)
    return tuple((piece, number % 2 == 1) for number, piece in enumerate(pieces) if piece)
