"""Sidecars of a place in, Sidecar objects out, in time order; can follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from framecap.sidecar import Sidecar


def read_sidecars(path: str | Path) -> Iterator[Sidecar]:
    """(comes with the stores)"""
    raise NotImplementedError(path)
