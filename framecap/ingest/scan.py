"""A store's listing in, frames with their sidecars (or without) out: everything, or only where something new can be.

What is own is listed from a low watermark: the newest key of its camera minus a look-back. A top-level folder that holds a
foreign key is listed whole every time, and so is what lies in no folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from framecap.frames import FrameName, frame_key_of, is_frame_key, low_watermark, make_key, parse_key, sidecar_key
from framecap.stores.base import Entry, Store

_LAST = "\U0010ffff"  # sorts after every name


def pairs(entries: Iterator[Entry]) -> Iterator[tuple[Entry, Entry | None]]:
    """Each frame of a sorted listing with its sidecar, or None; sidecars without a frame are passed over.

    Between a frame and its sidecar only keys that begin with the frame's can sort, so that few frames ever wait for theirs.
    """
    waiting: list[Entry] = []
    for entry in entries:
        while waiting and entry.key > sidecar_key(waiting[-1].key):
            yield waiting.pop(), None
        frame = frame_key_of(entry.key)
        if frame is None:
            waiting.append(entry)
        elif waiting and waiting[-1].key == frame:
            yield waiting.pop(), entry
    while waiting:
        yield waiting.pop(), None


def frame_of(key: str) -> str | None:
    """The key itself when it names a frame: what moves an ingest's watermarks."""
    return key if is_frame_key(key) else None


@dataclass(slots=True)
class _Seen:
    """Per top-level folder: the newest own key; and the folders that hold foreign keys."""

    newest: dict[str, str] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)

    def add(self, key: str) -> None:
        folder, slash, _ = key.partition("/")
        if not slash:
            return
        if parse_key(key) is None:
            self.foreign.add(folder)
        elif key > self.newest.get(folder, ""):
            self.newest[folder] = key


class Listing:
    """Lists a store again and again, cheaply; remembers one key per camera.

    `mark` says which frame a listed key stands for when watermarks are moved, None for keys that do not move them.
    """

    def __init__(self, store: Store, look_back: timedelta, mark: Callable[[str], str | None] = frame_of) -> None:
        self._store = store
        self._look_back = look_back
        self._mark = mark
        self._seen = _Seen()

    def full(self) -> Iterator[Entry]:
        """Everything; the watermarks are made anew when it has come to its end."""
        seen = _Seen()
        for entry in self._store.list():
            self._note(seen, entry)
            yield entry
        self._seen = seen

    def incremental(self) -> Iterator[Entry]:
        """What can be new: own keys from their camera's watermark on, foreign keys and unknown folders whole."""
        seen = self._seen
        known = {folder: self._watermark(key) for folder, key in seen.newest.items() if folder not in seen.foreign}
        after: str | None = ""
        while after is not None:
            passed = None
            for entry in self._store.list(after=after):
                folder, slash, _ = entry.key.partition("/")
                if slash and folder in known:
                    passed = folder
                    break
                self._note(seen, entry)
                yield entry
            if passed is not None:
                for entry in self._store.list(prefix=f"{passed}/", after=known[passed]):
                    self._note(seen, entry)
                    yield entry
            after = None if passed is None else f"{passed}/{_LAST}"

    def _note(self, seen: _Seen, entry: Entry) -> None:
        frame = self._mark(entry.key)
        if frame is not None:
            seen.add(frame)

    def _watermark(self, key: str) -> str:
        """A key of the future (a clock was wrong) must not hide what comes before it: the watermark is never after now."""
        name = parse_key(key)
        now = datetime.now(UTC)
        if name is not None and name.captured_at > now:
            key = make_key(FrameName(name.camera, now, 0))
        return low_watermark(key, self._look_back) or ""
