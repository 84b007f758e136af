"""A frame between its camera and the store: its name, its bytes, and whether it came from a live source."""

from __future__ import annotations

from dataclasses import dataclass, field

from framecap.frames import FrameName


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame with its name. `live`: another frame under its key is another moment, so it takes the next number."""

    name: FrameName
    data: bytes = field(repr=False)
    live: bool
