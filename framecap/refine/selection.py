"""Decides which committed frames deserve a second look, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase

from framecap.config import RefineWhenConfig
from framecap.events.rules import any_of
from framecap.sidecars.sidecar import Sidecar

LastLook = Callable[[str], datetime | None]


class Selection:
    """The conditions of `refine.when`, ready to be asked."""

    def __init__(self, config: RefineWhenConfig) -> None:
        self._when = config
        self._words = any_of(config.words)

    def reason(self, sidecar: Sidecar, last_look: LastLook) -> str | None:
        """Return why the frame deserves a second look, or None.

        Args:
            sidecar: the frame's commit record.
            last_look: the capture time of the newest frame of a camera that was selected so far.
        """
        camera = sidecar.frame.camera
        if not may_be_refined(sidecar) or not any(fnmatchcase(camera, pattern) for pattern in self._when.cameras):
            return None
        if self._when.uncertain and sidecar.uncertain:
            return "uncertain"
        if self._when.new_scene and sidecar.new_scene:
            return "new_scene"
        if self._words is not None and self._words.search(sidecar.caption or ""):
            return "words"
        return "every_seconds" if self._is_due(sidecar, last_look) else None

    def _is_due(self, sidecar: Sidecar, last_look: LastLook) -> bool:
        if self._when.every_seconds is None:
            return False
        last = last_look(sidecar.frame.camera)
        return last is None or (sidecar.frame.captured_at - last).total_seconds() >= self._when.every_seconds


def may_be_refined(sidecar: Sidecar) -> bool:
    """Whether the caption is a first look's own: not a duplicate's copy, not a second look's, not a person's."""
    return sidecar.status == "captioned" and sidecar.first_look is None
