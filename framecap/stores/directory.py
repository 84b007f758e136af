"""A directory (or two) in, the store of its files out."""

from __future__ import annotations

from pathlib import Path

from framecap.stores.combined import CombinedStore
from framecap.stores.directory_backend import DirectoryBackend


class DirectoryStore(CombinedStore):
    """A store in directories, local or mounted: what differs between them is the trees' business."""

    def __init__(self, frames: DirectoryBackend, sidecars: DirectoryBackend | None = None) -> None:
        super().__init__(frames, sidecars)
        self._root = frames.root

    @property
    def directory(self) -> Path:
        return self._root
