"""A store's listing in, frames with their sidecars (or without) out: everything, or only where something new can be.

What is own is listed from a low watermark: the newest key of its camera minus a lookback. A top-level folder that holds a
foreign key is listed whole every time, and so is what lies in no folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from framecap.frames import SIDECAR_SUFFIX, FrameName, low_watermark, make_key, parse_key
from framecap.stores.base import Entry, Store

_LOOKBACK_PARTS = 64  # a power of two
_REST_OF_OWN_KEY = re.compile(r"[0-5]\d[0-5]\d\.\d{6}Z-\d{8,18}\.jpg")


def pairs(
    entries: Iterator[Entry], on_orphan: Callable[[Entry], object] | None = None
) -> Iterator[tuple[Entry, Entry | None]]:
    """Each frame of a sorted listing with its sidecar, or None; sidecars without a frame go to `on_orphan`, or nowhere.

    Between a frame and its sidecar only keys that begin with the frame's can sort, so that few frames ever wait for theirs.
    """
    waiting: list[Entry] = []
    for entry in entries:
        key = entry.key
        while waiting and key > waiting[-1].key + SIDECAR_SUFFIX:
            yield waiting.pop(), None
        if not key.endswith(SIDECAR_SUFFIX):
            waiting.append(entry)
        elif waiting and waiting[-1].key + SIDECAR_SUFFIX == key:
            yield waiting.pop(), entry
        elif on_orphan is not None:
            on_orphan(entry)
    while waiting:
        yield waiting.pop(), None


class Watermarks:
    """Per top-level folder: the newest own key; and the folders that hold foreign keys."""

    def __init__(self, newest: dict[str, str] | None = None, foreign: Iterable[str] = ()) -> None:
        self.newest = newest or {}
        self.foreign = set(foreign)
        self._folder = ""
        self._hour = "/"  # the beginning of the last own key, up to its hour: what shares it is own by its shape alone

    def add(self, key: str) -> None:
        if key.startswith(self._hour) and _REST_OF_OWN_KEY.fullmatch(key, len(self._hour)):
            self.newest[self._folder] = max(key, self.newest[self._folder])
            return
        folder, slash, _ = key.partition("/")
        if not slash:
            return
        if parse_key(key) is None:
            self.foreign.add(folder)
            return
        self._folder = folder
        self._hour = key[: key.rindex("T") + 3]
        self.newest[folder] = max(key, self.newest.get(folder, ""))


class Listing:
    """Lists a store again and again, cheaply; remembers one key per camera.

    `marks` says whether frames move the watermarks (for who looks for frames) or sidecars do (for who looks for sidecars).
    `start` is the `seen` of a listing that went before, in another process it may be.
    """

    def __init__(
        self,
        store: Store,
        lookback: timedelta,
        marks: Literal["frames", "sidecars"] = "frames",
        start: Watermarks | None = None,
    ) -> None:
        self._store = store
        self._lookback = lookback
        self._by_sidecars = marks == "sidecars"
        self.seen = start or Watermarks()
        self._incrementals = 0

    def full(self) -> Iterator[Entry]:
        """Everything; the watermarks are made anew when it has come to its end."""
        seen = Watermarks()
        for entry in self._store.list():
            self._note(seen, entry)
            yield entry
        self.seen = seen

    def incremental(self) -> Iterator[Entry]:
        """What can be new: own keys from their camera's watermark on, foreign keys and unknown folders whole."""
        seen = self.seen
        lookback = self._next_lookback()
        known = {f"{folder}/": key for folder, key in seen.newest.items() if folder not in seen.foreign}
        for item in self._store.top():
            if isinstance(item, Entry):
                self._note(seen, item)
                yield item
                continue
            newest = known.get(item)
            for entry in self._store.list(item, after="" if newest is None else _watermark(newest, lookback)):
                self._note(seen, entry)
                yield entry

    def _next_lookback(self) -> timedelta:
        """Short most of the time, and twice as long half as often: 64, 1, 2, 1, 4, 1, 2, 1, 8, ... parts of the whole one.

        What comes behind its camera's newest key is seldom far behind it. In this way it is found after as many scans as it
        is parts behind, at a sixteenth of the cost of looking back all the way each time.
        """
        number = self._incrementals % _LOOKBACK_PARTS
        self._incrementals += 1
        parts = number & -number or _LOOKBACK_PARTS  # the largest power of two that divides the number
        return self._lookback * parts / _LOOKBACK_PARTS

    def _note(self, seen: Watermarks, entry: Entry) -> None:
        is_sidecar = entry.key.endswith(SIDECAR_SUFFIX)
        if is_sidecar is self._by_sidecars:
            seen.add(entry.key.removesuffix(SIDECAR_SUFFIX))


def _watermark(key: str, lookback: timedelta) -> str:
    """A key of the future (a clock was wrong) must not hide what comes before it: the watermark is never after now."""
    name = parse_key(key)
    now = datetime.now(UTC)
    if name is not None and name.captured_at > now:
        key = make_key(FrameName(name.camera, now, 0))
    return low_watermark(key, lookback) or ""
