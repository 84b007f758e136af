"""Which frames of a source are kept, and when in the source they were: indices and stream timestamps in, answers out."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_GAP_SECONDS = 30 * 86400.0  # a larger step between two frames is a broken timestamp, not a pause
USUAL_FPS = 25.0  # where a source states none, or nonsense


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every n-th frame (`every`), else so many a second of the source (`fps`), else all."""

    fps: float | None = None
    every: int | None = None


class Sampler:
    """Cuts the source's time into cells of 1/fps seconds and keeps the first frame of each.

    `slack` is how much too early (seconds) a frame may come and still count for the next cell: without it, timestamps that
    are rounded (Matroska: milliseconds) or late (a network) would make a source at just the wanted rate lose frames.
    """

    def __init__(self, sampling: Sampling, slack: float) -> None:
        self._sampling = sampling
        self._slack = slack
        self._first: float | None = None
        self._cell = -1

    def keeps(self, index: int, seconds: float) -> bool:
        """Whether to keep this frame; to be asked for each frame in its order."""
        if self._sampling.every is not None:
            return index % self._sampling.every == 0
        if self._sampling.fps is None:
            return True
        if self._first is None:
            self._first = seconds
        cell = math.floor((seconds - self._first + self._slack) * self._sampling.fps)
        if cell <= self._cell:
            return False
        self._cell = cell
        return True


class StreamClock:
    """Makes a recording's timestamps usable: they rise, and where they do not, the frame rate says how far.

    Raw H.264 has no timestamps (0 each time), some AVI files lose the last one, joined transport streams start again.
    """

    def __init__(self, fps: float) -> None:
        self._step = 1 / usual_rate(fps)
        self._last: float | None = None
        self.repaired = 0

    def seconds(self, milliseconds: float) -> float:
        """The time in the source of the next frame, given what the container says."""
        stated = milliseconds / 1000
        if self._last is None:
            fits = 0 <= stated <= MAX_GAP_SECONDS
            expected = 0.0
        else:
            fits = self._last < stated <= self._last + MAX_GAP_SECONDS
            expected = self._last + self._step
        if not fits:
            self.repaired += 1
        self._last = stated if fits else expected
        return self._last


def usual_rate(fps: float) -> float:
    """The frames per second that a source states, when they can be true."""
    return fps if 0.1 <= fps <= 1000 else USUAL_FPS  # RTSP cameras say 90000, or nothing
