"""How many pending frames are kept in memory: keys in; whether there is room, and which folders to list again, out.

A backlog may be larger than memory. What is not admitted is not forgotten: the first such key of each top-level folder is
kept, and the folder is listed again from there when there is room. So a folder's frames still come in the order of their
keys, and a folder that comes last gets its turn beside one with a million. No I/O.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

LIMIT = 100_000  # frames in memory, some 45 MB
LEAST = 200  # frames of each folder, whatever the others have


@dataclass(slots=True)
class _Rest:
    """What was skipped of a folder: the first key, and how many there are, as last counted."""

    first: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Refill:
    """A folder to be listed again: keys that start with `prefix` (none: what lies directly in the root), after `after`."""

    prefix: str
    after: str


class Admission:
    """The frames in memory by their top-level folder. The caller locks."""

    def __init__(self, limit: float = math.inf, least: int = LEAST) -> None:
        self._limit = limit
        self._least = least
        self._kept: Counter[str] = Counter()
        self._total = 0
        self._rest: dict[str, _Rest] = {}

    def admit(self, key: str, refilling: bool = False) -> bool:
        """Whether a new frame may be kept; it counts then. Behind a key that was skipped only a refill brings more."""
        folder = folder_of(key)
        rest = self._rest.get(folder)
        behind = rest is not None and key >= rest.first and not refilling
        if behind or (self._total >= self._limit and self._kept[folder] >= self._least):
            return False
        self.keep(key)
        if refilling and rest is not None:
            rest.count = max(rest.count - 1, 0)
        return True

    def keep(self, key: str) -> None:
        """A frame is kept whatever the room."""
        self._kept[folder_of(key)] += 1
        self._total += 1

    def skip(self, key: str, counts: bool) -> None:
        """A frame was not admitted. `counts`: in a listing of everything, which shows each once."""
        rest = self._rest.setdefault(folder_of(key), _Rest(key))
        rest.first = min(rest.first, key)
        rest.count += counts

    def gone(self, key: str) -> None:
        """A frame is not kept any more."""
        folder = folder_of(key)
        self._total -= 1
        self._kept[folder] -= 1
        if not self._kept[folder]:
            del self._kept[folder]

    def recount(self) -> None:
        """A listing of everything begins."""
        for rest in self._rest.values():
            rest.count = 0

    @property
    def skipped(self) -> int:
        """Frames that are not in memory: about how many. At least one for each folder that is to be listed again."""
        return sum(max(rest.count, 1) for rest in self._rest.values())

    @property
    def is_whole(self) -> bool:
        return not self._rest

    def refills(self) -> list[Refill]:
        """The folders that may be listed again: those that have few frames left, or all when there is much room."""
        roomy = self._total <= self._limit / 2
        return [
            Refill(folder, rest.first[:-1])  # sorts before it, and behind (nearly) all that sorts before it
            for folder, rest in self._rest.items()
            if roomy or self._kept[folder] <= self._least / 2
        ]

    def refilled(self, refill: Refill, first: str | None) -> None:
        """A folder was listed again, up to `first`, which had no room; None: to its end."""
        rest = self._rest[refill.prefix]
        if first is None:
            del self._rest[refill.prefix]
        else:
            rest.first = first


def folder_of(key: str) -> str:
    """The top-level folder of a key with its `/`; nothing for a key in the root."""
    return key[: key.find("/") + 1]
