"""Whether a live source still shows something new: its images in, "frozen" and "moving" out. A real sensor has noise."""

from __future__ import annotations

from typing import Literal


class FrozenWatch:
    """Compares whole JPEGs: the encoder gives the same bytes for the same image. `seconds` of 0 switches it off."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._image = b""
        self._since = 0.0
        self._frozen = False

    def see(self, data: bytes, now: float) -> Literal["frozen", "moving"] | None:
        """What changed with this image, if anything; `now` in seconds on any clock that only rises."""
        if data != self._image:
            was_frozen, self._frozen = self._frozen, False
            self._image, self._since = data, now
            return "moving" if was_frozen else None
        if self._frozen or not self._seconds or now - self._since < self._seconds:
            return None
        self._frozen = True
        return "frozen"
