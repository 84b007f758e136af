"""A store and an age in; the frames that are older deleted, each with its sidecar, and how many those were, out.

A frame goes before its sidecar: whoever is killed between the two leaves a sidecar without a frame, which nobody captions
again and the next run removes. The other way round the frame would be pending, and be captioned once more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from framecap.errors import ConfigError, FrameGone, FrameUnreadable
from framecap.frames import SIDECAR_SUFFIX, UNSORTED, camera_of, parse_key
from framecap.sidecars.status_reader import FOREIGN, TORN, read_statuses
from framecap.stores.base import Entry, Store
from framecap.stores.listing import pairs

_BATCH = 1000  # S3's limit of a deletion
_FOREIGN = 20  # frames of other programs in a batch: the last of them is looked at soon before the first is deleted
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}  # seconds
_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")


def parse_age(text: str, flag: str = "--older-than") -> timedelta:
    """`30d` as a time span; also s, m (minutes), h and w. Raises ConfigError, naming the flag."""
    match = _AGE.fullmatch(text)
    try:
        if match is not None:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        pass
    raise ConfigError(f"{flag}: {text!r}: a number and its unit are expected: 45m, 12h, 30d or 8w")


def time_before(age: str) -> datetime:
    """The time that was so long ago. Raises ConfigError: it is no age, or longer than there are years."""
    try:
        return datetime.now(UTC) - parse_age(age)
    except OverflowError:
        raise ConfigError(f"--older-than: {age!r}: that is before the year 1") from None


@dataclass(frozen=True, slots=True)
class OldFrame:
    """What may go: of one camera or all (None), what is from before a time; failed, pending and orphaned ones or not."""

    before: datetime
    camera: str | None = None
    failed: bool = True
    pending: bool = False
    orphans: bool = True

    def holds(self, frame_key: str, modified: float) -> bool:
        """Whether a frame is old enough: by the time in its own key; a foreign one by its object's (Unix seconds)."""
        if self.camera not in (None, camera_of(frame_key)):
            return False
        name = parse_key(frame_key)
        return name.captured_at < self.before if name else modified < self.before.timestamp()


@dataclass(slots=True)
class Deleted:
    """How many frames went, and their bytes."""

    frames: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Pruned:
    """What was (or would be) deleted, by camera; sidecars that had no frame; what is old enough and was kept."""

    cameras: defaultdict[str, Deleted] = field(default_factory=lambda: defaultdict(Deleted))
    orphans: int = 0
    kept_failed: int = 0
    kept_pending: int = 0
    kept_changed: int = 0  # replaced by another image since they were listed
    kept_foreign: int = 0  # another program's file has the name of their sidecar

    @property
    def everything(self) -> Deleted:
        gone = self.cameras.values()
        return Deleted(sum(one.frames for one in gone), sum(one.bytes for one in gone))


def prune(store: Store, old: OldFrame, dry_run: bool, on_frame: Callable[[], object]) -> Pruned:
    """Delete what is old, or with `dry_run` only count it. Raises StoreUnavailable: what was deleted by then is."""
    pruned = Pruned()
    orphans: list[Entry] = []

    def on_orphan(sidecar: Entry) -> None:
        orphans.append(sidecar)
        if len(orphans) >= _BATCH:
            _take_orphans(store, orphans, pruned, dry_run)

    frames = _old_frames(store, old, pruned, on_orphan, on_frame)
    for batch in _batches(_without_kept(store, frames, old, pruned)):
        for frame in batch if dry_run else _delete(store, batch, pruned):
            gone = pruned.cameras[camera_of(frame.key)]
            gone.frames += 1
            gone.bytes += frame.size
    _take_orphans(store, orphans, pruned, dry_run)
    return pruned


def _old_frames(
    store: Store, old: OldFrame, pruned: Pruned, on_orphan: Callable[[Entry], object], on_frame: Callable[[], object]
) -> Iterator[Entry]:
    def orphan(sidecar: Entry) -> None:
        if old.orphans and old.holds(sidecar.key.removesuffix(SIDECAR_SUFFIX), sidecar.modified):
            on_orphan(sidecar)

    prefix = "" if old.camera in (None, UNSORTED) else f"{old.camera}/"
    for frame, sidecar in pairs(store.list(prefix=prefix), orphan):
        on_frame()
        if not old.holds(frame.key, frame.modified):
            continue
        if old.pending or (sidecar is not None and sidecar.size > 0):
            yield frame
        else:
            pruned.kept_pending += 1


def _without_kept(store: Store, frames: Iterator[Entry], old: OldFrame, pruned: Pruned) -> Iterator[Entry]:
    """The frames that may be deleted by what their sidecars say. A frame beside another program's file was not captioned."""
    for read in read_statuses(store, frames):
        if read.status == FOREIGN:
            pruned.kept_foreign += 1
        elif read.status in ("failed", TORN) and not old.failed:
            pruned.kept_failed += 1
        elif read.status == "pending" and not old.pending:  # its sidecar has gone since the listing
            pruned.kept_pending += 1
        else:
            yield read.frame


def _batches(frames: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    foreign = 0
    for frame in frames:
        batch.append(frame)
        foreign += parse_key(frame.key) is None
        if len(batch) >= _BATCH or foreign >= _FOREIGN:
            yield batch
            batch, foreign = [], 0
    if batch:
        yield batch


def _delete(store: Store, frames: list[Entry], pruned: Pruned) -> list[Entry]:
    """Delete frames and then their sidecars; the ones that went."""
    there = len(frames)
    frames = [frame for frame in frames if _is_unchanged(store, frame)]
    pruned.kept_changed += there - len(frames)
    keys = [frame.key for frame in frames]
    store.delete_frames(keys)
    store.delete_sidecars(keys)
    return frames


def _is_unchanged(store: Store, frame: Entry) -> bool:
    """Whether it is the image that was listed; of one that is gone, the sidecar is what is left to delete."""
    if store.directory is None:
        return _is_unchanged_in_a_bucket(store, frame)
    try:
        return store.stat(frame.key).etag == frame.etag
    except FrameGone:
        return True


def _is_unchanged_in_a_bucket(store: Store, frame: Entry) -> bool:
    """By a listing: who prunes may read nothing. It is a request, and own frames are never overwritten."""
    if parse_key(frame.key) is not None:
        return True
    now = next(store.list(prefix=frame.key), None)
    return now is None or now.key != frame.key or now.etag == frame.etag


def _take_orphans(store: Store, orphans: list[Entry], pruned: Pruned, dry_run: bool) -> None:
    """Delete the sidecars that still have no frame: a listing may have missed one that came meanwhile."""
    gone = [entry for entry in orphans if _is_gone(store, entry.key.removesuffix(SIDECAR_SUFFIX))]
    frames = (replace(entry, key=entry.key.removesuffix(SIDECAR_SUFFIX)) for entry in gone)
    keys = [read.frame.key for read in read_statuses(store, frames) if read.status not in (FOREIGN, "pending")]
    pruned.orphans += len(keys if dry_run else store.delete_sidecars(keys))
    orphans.clear()


def _is_gone(store: Store, key: str) -> bool:
    try:
        store.stat(key)
    except FrameGone:
        return True
    except FrameUnreadable:  # it is there, and not ours to see
        return False
    return False
