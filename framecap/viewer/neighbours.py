"""A frame's key in; the keys of the captioned frames before and after it, of its camera, out. By listings alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from framecap.frames import SIDECAR_SUFFIX, FrameName, hour_prefix, make_key, parse_key
from framecap.stores.base import Store

_MINUTE = timedelta(minutes=1)
_HOURS = 24  # as far back as an earlier frame is looked for
_LISTED = 20_000  # objects of one folder of foreign keys; beyond, nobody steps through it


@dataclass(frozen=True, slots=True)
class Neighbours:
    """None: there is none, or none was found near."""

    previous: str | None
    next: str | None


def neighbours(store: Store, key: str) -> Neighbours:
    """By the order of keys: of framecap's own that of time. Raises StoreUnavailable."""
    name = parse_key(key)
    if name is None:
        return _in_folder(store, key)
    return Neighbours(_earlier(store, key, name), next(_frames(store, f"{name.camera}/", key), None))


def _earlier(store: Store, key: str, name: FrameName) -> str | None:
    minute = make_key(FrameName(name.camera, name.captured_at - _MINUTE, 0))
    looks = [(hour_prefix(name.camera, name.captured_at), minute)]
    looks += [(hour_prefix(name.camera, name.captured_at - timedelta(hours=hours)), "") for hours in range(_HOURS)]
    for folder, after in looks:
        last = None
        for found in _frames(store, folder, after):
            if found >= key:
                break
            last = found
        if last is not None:
            return last
    return None


def _in_folder(store: Store, key: str) -> Neighbours:
    folder = key[: key.rfind("/") + 1]
    previous = None
    for found in islice(_frames(store, folder, ""), _LISTED):
        if found > key:
            return Neighbours(previous, found)
        if found < key:
            previous = found
    return Neighbours(previous, None)


def _frames(store: Store, prefix: str, after: str) -> Iterator[str]:
    """The keys of frames with a sidecar."""
    for entry in store.list(prefix, after=after):
        if entry.key.endswith(SIDECAR_SUFFIX) and entry.size > 0 and entry.key != after + SIDECAR_SUFFIX:
            yield entry.key.removesuffix(SIDECAR_SUFFIX)
