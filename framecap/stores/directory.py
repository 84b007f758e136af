"""Frames and sidecars as files: the store over one tree, or over two when sidecars have a root of their own."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from framecap.errors import FrameGone, FrameUnreadable, OversizedFrame, StoreUnavailable
from framecap.frames import SIDECAR_SUFFIX, check_key, sidecar_key
from framecap.sidecar import MAX_SIDECAR_BYTES
from framecap.stores.base import Commit, Entry, Finding, Put
from framecap.stores.local import LocalTree
from framecap.stores.tree import Tree
from framecap.telemetry import mask


class DirectoryStore:
    """A store in directories, local or mounted: what differs between them is the trees' business."""

    def __init__(self, frames: Tree, sidecars: Tree | None = None) -> None:
        self._frames = frames
        self._sidecars = sidecars or frames

    @property
    def address(self) -> str:
        return mask(str(self._frames.root))

    @property
    def directory(self) -> Path:
        return self._frames.root

    @property
    def hints(self) -> bool:
        return isinstance(self._frames, LocalTree)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        if self._sidecars is self._frames:
            return self._frames.entries(prefix, after)
        frames = (entry for entry in self._frames.entries(prefix, after) if not entry.key.endswith(SIDECAR_SUFFIX))
        sidecars = (entry for entry in self._sidecars.entries(prefix, after) if entry.key.endswith(SIDECAR_SUFFIX))
        return heapq.merge(frames, sidecars, key=attrgetter("key"))

    def stat(self, key: str) -> Entry:
        entry = self._frames.stat(check_key(key))
        if entry is None:
            raise _gone(key)
        return entry

    def read(self, key: str, limit: int) -> bytes:
        try:
            data = self._frames.read(check_key(key), limit)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, PermissionError):  # of one frame: the store itself answers
                raise FrameUnreadable(f"{key}: this user may not read it: change its owner or mode") from None
            raise
        if data is None:
            raise _gone(key)
        return data

    def put_frame(self, key: str, data: bytes) -> Put:
        return Put.STORED if self._frames.create(check_key(key), data) else Put.ALREADY_THERE

    def commit_sidecar(self, key: str, data: bytes) -> Commit:
        created = self._sidecars.create(sidecar_key(check_key(key)), data)
        return Commit.COMMITTED if created else Commit.ALREADY_THERE

    def read_sidecar(self, key: str) -> bytes | None:
        try:
            return self._sidecars.read(sidecar_key(check_key(key)), MAX_SIDECAR_BYTES)
        except OversizedFrame:
            return b""

    def replace_sidecar(self, key: str, data: bytes, if_match: bytes) -> Commit:
        replaced = self._sidecars.replace(sidecar_key(check_key(key)), data, if_match)
        return Commit.COMMITTED if replaced else Commit.ALREADY_THERE

    def delete(self, key: str) -> None:
        self._frames.delete(check_key(key))

    def probe(self) -> tuple[Finding, ...]:
        if self._sidecars is self._frames:
            return self._frames.probe()
        return self._frames.probe() + self._sidecars.probe()


def _gone(key: str) -> FrameGone:
    return FrameGone(f"{key[:200]!a}: the frame is not there any more")
