"""Sidecars of one camera in; WebVTT or SRT out, in the recording's own time, or counted from a live camera's first frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from framecap.errors import ConfigError
from framecap.sidecars.sidecar import Sidecar
from framecap.timeline.export.writer import TextWriter, one_line
from framecap.timeline.segments import GAP, Segment, segments

_NO_TAGS = str.maketrans("<>", "‹›")  # noqa: RUF001 - players take <...> for a tag, and SubRip has no way to write it
_SAME = timedelta(seconds=1)  # recordings that began closer together are one


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start` to `end` (milliseconds)."""

    start: int
    end: int
    text: str


class _Subtitles(TextWriter):
    """Segments become cues. A caption of which the model is not sure has a question mark in brackets after it."""

    one_camera = True

    def __init__(self, gap: timedelta = GAP) -> None:
        super().__init__()
        self._gap = gap

    def pieces(self, sidecars: Iterable[Sidecar]) -> Iterator[str]:
        zero: datetime | None = None
        for segment in segments(sidecars, self._gap):
            if zero is None:
                zero = segment.recording or segment.start
                yield self.head(segment, zero)
            elif segment.recording is not None and abs(segment.recording - zero) > _SAME:
                raise ConfigError(
                    f"camera {segment.camera!r} has recordings that began at {_iso(zero)} and at {_iso(segment.recording)}: "
                    "subtitles are of one: choose it with --since and --until"
                )
            cue = _cue(segment, zero)
            if cue.text and cue.start < cue.end:
                self.written += 1
                yield self.cue(self.written, cue)
            else:
                self.skipped += 1
        if zero is None:
            yield self.head(None, None)

    @abstractmethod
    def head(self, first: Segment | None, zero: datetime | None) -> str:
        """What stands before the cues; `zero` is the time of 0:00."""

    @abstractmethod
    def cue(self, number: int, cue: Cue) -> str: ...


def _cue(segment: Segment, zero: datetime) -> Cue:
    text = one_line(segment.caption)
    text = f"{text} (?)" if text and segment.uncertain else text
    return Cue(_since(zero, segment.start), _since(zero, segment.end), text)


def _since(zero: datetime, at: datetime) -> int:
    return round((at - zero) / timedelta(milliseconds=1))


class WebVtt(_Subtitles):
    """https://www.w3.org/TR/webvtt1/"""

    def head(self, first: Segment | None, zero: datetime | None) -> str:
        if first is None or zero is None:
            return "WEBVTT\n"
        return f"WEBVTT\n\nNOTE {one_line(first.camera)}: 00:00:00.000 is {_iso(zero)}\n"

    def cue(self, number: int, cue: Cue) -> str:
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n"


class Srt(_Subtitles):
    """SubRip: what every player reads."""

    def head(self, first: Segment | None, zero: datetime | None) -> str:
        return ""

    def cue(self, number: int, cue: Cue) -> str:
        text = cue.text.translate(_NO_TAGS)
        return f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n\n"


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
