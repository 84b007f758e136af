"""Sidecars of one camera after the other in time order in; segments out: intervals in which the captions say the same.

Captions say the same when they differ in nothing but case, spaces and the punctuation at their ends. What is shown of a
frame is its steady caption where it has one. A frame without a caption (failed, skipped) says nothing: it neither ends a
segment nor makes one longer. A duplicate says what the frame it is a duplicate of says.

A segment lasts until its camera's next one begins. Where frames stop (none with a caption for more than `gap`), and where
another recording begins, it ends one step after its last frame: the step is the time between its camera's last two frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from framecap.sidecars.sidecar import Sidecar

GAP = timedelta(seconds=60)  # a camera that says nothing for longer has stopped
FIRST_STEP = timedelta(seconds=1)  # of a camera of which one frame is known
_SAME_RECORDING = timedelta(milliseconds=10)  # positions are rounded


def displayed_caption(sidecar: Sidecar) -> str | None:
    """What is shown of a frame: its steady caption where it has one, else its own; None when it has no caption."""
    return sidecar.steady_caption or sidecar.caption


def same_words(caption: str) -> str:
    """What two captions that say the same have in common."""
    return " ".join(caption.casefold().split()).strip(" .,;:!?…\"'")


def moved(at: datetime, by: timedelta) -> datetime:
    """The moment so much later, or the last (or first) one that can be told: a wrong clock says any year."""
    try:
        return at + by
    except OverflowError:
        return (datetime.min if by < timedelta(0) else datetime.max).replace(tzinfo=at.tzinfo)


@dataclass(frozen=True, slots=True)
class Segment:
    """One interval of one camera, `start` (its first frame) to `end` (not included).

    `caption`, `confidence`, `uncertain` and `key` are those of its surest frame; `frames` counts the ones with a caption.
    `position` is where it starts in a recording, in seconds; None for live cameras and foreign frames.
    """

    camera: str
    start: datetime
    end: datetime
    caption: str
    confidence: float | None
    uncertain: bool | None
    key: str
    first_key: str
    last_key: str
    frames: int
    position: float | None

    @property
    def end_position(self) -> float | None:
        """Where it ends in its recording, in seconds."""
        return None if self.position is None else self.position + (self.end - self.start).total_seconds()

    @property
    def recording(self) -> datetime | None:
        """When its recording began; None for live cameras and foreign frames."""
        return None if self.position is None else moved(self.start, -timedelta(seconds=self.position))


class _Open:
    """The segment that a camera is in."""

    def __init__(self, sidecar: Sidecar, caption: str, step: timedelta) -> None:
        self.first = self.last = self.surest = sidecar
        self.caption = caption
        self.step = step
        self.frames = 1

    def goes_on_with(self, sidecar: Sidecar, caption: str, gap: timedelta) -> bool:
        return same_words(caption) == same_words(self.caption) and self.reaches(sidecar, gap)

    def reaches(self, sidecar: Sidecar, gap: timedelta) -> bool:
        """Whether the camera had not stopped before this frame."""
        then, now = self.last.frame, sidecar.frame
        if now.captured_at - then.captured_at > gap or (then.position is None) is not (now.position is None):
            return False
        if then.position is None or now.position is None:
            return True
        further = timedelta(seconds=now.position - then.position)
        return abs(now.captured_at - then.captured_at - further) <= _SAME_RECORDING

    def add(self, sidecar: Sidecar, caption: str) -> None:
        self.step = sidecar.frame.captured_at - self.last.frame.captured_at or self.step
        self.last = sidecar
        self.frames += 1
        if (sidecar.confidence or 0.0) > (self.surest.confidence or 0.0):
            self.surest, self.caption = sidecar, caption

    def until(self, end: datetime | None) -> Segment:
        """The segment as it is; without an end it lasts a step longer than its last frame."""
        surest = self.surest
        return Segment(
            camera=self.first.frame.camera,
            start=self.first.frame.captured_at,
            end=moved(self.last.frame.captured_at, self.step) if end is None else end,
            caption=self.caption,
            confidence=surest.confidence,
            uncertain=surest.uncertain,
            key=surest.frame.key,
            first_key=self.first.frame.key,
            last_key=self.last.frame.key,
            frames=self.frames,
            position=self.first.frame.position,
        )


class Segmenter:
    """Takes sidecars one by one, those of each camera in time order, and gives the segments that they end.

    One open segment a camera is in memory.
    """

    def __init__(self, gap: timedelta = GAP) -> None:
        self._gap = gap
        self._open: dict[str, _Open] = {}

    def add(self, sidecar: Sidecar) -> Segment | None:
        """The segment that this frame ends, if it ends one."""
        caption = displayed_caption(sidecar)
        if caption is None:
            return None
        camera = sidecar.frame.camera
        there = self._open.get(camera)
        if there is not None and there.goes_on_with(sidecar, caption, self._gap):
            there.add(sidecar, caption)
            return None
        self._open[camera] = _Open(sidecar, caption, FIRST_STEP)
        if there is None:
            return None
        if not there.reaches(sidecar, self._gap):
            return there.until(None)
        at = sidecar.frame.captured_at
        self._open[camera].step = at - there.last.frame.captured_at or there.step
        return there.until(at)

    def open(self) -> list[Segment]:
        """The segments that have not ended, as they are now, by their start."""
        return sorted(
            (there.until(None) for there in self._open.values()), key=lambda segment: (segment.start, segment.camera)
        )

    def end(self) -> list[Segment]:
        """The same; they have ended now."""
        last = self.open()
        self._open.clear()
        return last


def segments(sidecars: Iterable[Sidecar], gap: timedelta = GAP) -> Iterator[Segment]:
    """The segments of all cameras, each when it ends: those of one camera in time order."""
    segmenter = Segmenter(gap)
    for sidecar in sidecars:
        ended = segmenter.add(sidecar)
        if ended is not None:
            yield ended
    yield from segmenter.end()
