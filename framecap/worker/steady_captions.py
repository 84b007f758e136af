"""Steady captions: a batch's frames and captions in; for each frame the caption of its scene out.

A caption flickers between frames of one scene: two sentences are about equally probable, and noise decides. So a camera's
last caption is kept as long as it is nearly as probable for the new frame as the frame's own. In the order of the frames'
times: one that is captioned after a later frame of its camera gets its own caption, and is no measure for others.

The model is asked in rounds, of all cameras at once: how probable are the caption of the scene so far, and those that the
batch's frames say most often, for the frames that come? A change of the scene to another caption takes one round more.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from framecap.captioning.caption import Caption, Captioner, Images
from framecap.worker.jobs import Job

Words = tuple[str, ...]
Scores = Callable[[Sequence[Sequence[Words]]], list[list[float]]]

_OFTEN = 2  # captions of the frames to come that are asked for ahead


@runtime_checkable
class Scorer(Protocol):
    """A captioner that can say how probable other words are (one with probabilities of its own).

    `remembers`: whether its captions shall hold what was seen, for `encode`.
    """

    remembers: bool

    def encode(self, images: Sequence[Images], captions: Sequence[Caption]) -> Scores:
        """Images, and what `caption` has said of them.

        What is returned gives, for each image, its sentences' mean log-probability (natural logarithm), the end included;
        each image needs one sentence at least. -inf: next to impossible.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Scene:
    """A caption that holds for now: its words, how it reads, and the time of the last frame that it was judged by."""

    words: Words
    text: str
    captured_at: datetime


@dataclass(slots=True, eq=False)
class _Frame:
    """A captioned frame, and how probable what was asked for is."""

    job: Job
    caption: Caption
    captured_at: datetime
    scores: dict[Words, float] = field(default_factory=dict)


class SteadyCaptions:
    """`margin`: by how much the kept caption's mean log-probability per word may be below that of the frame's own."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._scenes: dict[str, _Scene] = {}
        self._reported_by: Scorer | None = None  # another model has words of its own
        self._lock = threading.Lock()

    def settle(self, captioned: Sequence[tuple[Job, Caption]], captioner: Captioner) -> None:
        """Give each job its steady caption; a captioner that cannot score gives none."""
        if not isinstance(captioner, Scorer):
            return
        now = datetime.now(UTC)  # a clock of the future must not hide the present
        with self._lock:
            if captioner is not self._reported_by:
                self._scenes.clear()
                self._reported_by = captioner
            cameras: defaultdict[str, deque[_Frame]] = defaultdict(deque)
            for job, caption in sorted(captioned, key=lambda one: one[0].captured_at()):
                cameras[job.camera()].append(_Frame(job, caption, min(job.captured_at(), now)))
            scores: Scores | None = None
            while waiting := self._wait(cameras):
                if scores is None:  # what waits later waits now
                    looked_at = waiting
                    scores = captioner.encode([_pixels(frame) for frame in looked_at], [one.caption for one in looked_at])
                self._ask(scores, looked_at, cameras)

    def _wait(self, cameras: dict[str, deque[_Frame]]) -> list[_Frame]:
        """Judge the cameras' frames as far as they can be judged; all those that are left."""
        for camera, frames in cameras.items():
            while frames and self._judge(camera, frames[0]):
                frames.popleft()
        return [frame for frames in cameras.values() for frame in frames]

    def _ask(self, scores: Scores, looked_at: Sequence[_Frame], cameras: dict[str, deque[_Frame]]) -> None:
        """How probable words of its own, its scene's and of those after it are for each frame that waits."""
        wanted: dict[_Frame, list[Words]] = {}
        for camera, frames in cameras.items():
            often = [words for words, _ in Counter(frame.caption.words for frame in frames).most_common(_OFTEN)]
            for frame in frames:
                asked = dict.fromkeys([frame.caption.words, self._scenes[camera].words, *often])
                wanted[frame] = [words for words in asked if words not in frame.scores]
        sentences = [wanted.get(frame) or [frame.caption.words] for frame in looked_at]
        for frame, several, values in zip(looked_at, sentences, scores(sentences), strict=True):
            frame.scores |= zip(several, values, strict=True)

    def _judge(self, camera: str, frame: _Frame) -> bool:
        """Give the frame its steady caption; whether that can be done with what is known of it."""
        scene, own = self._scenes.get(camera), frame.caption
        if scene is not None and scene.captured_at > datetime.now(UTC):  # a clock was ahead and has been set back
            scene = None
            del self._scenes[camera]
        if scene is not None and frame.captured_at < scene.captured_at:
            frame.job.steady = own.text
            return True
        words, text = own.words, own.text
        if scene is not None and scene.words != own.words:
            if not {scene.words, own.words} <= frame.scores.keys():
                return False
            kept, least = frame.scores[scene.words], frame.scores[own.words] - self._margin
            if math.isfinite(kept) and math.isfinite(least) and kept >= least:
                words, text = scene.words, scene.text
        self._scenes[camera] = _Scene(words, text, frame.captured_at)
        frame.job.steady = text
        return True


class TicketOrder:
    """Batches that are captioned side by side are settled one after the other, in the order in which they began."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turn = 0
        self._over: set[int] = set()

    @contextmanager
    def turn(self, number: int) -> Iterator[Callable[[], None]]:
        """Batch `number` begins (they are counted from 0); what is given waits until those before it are over."""
        try:
            yield lambda: self._wait_for(number)
        finally:
            with self._changed:
                self._over.add(number)
                while self._turn in self._over:
                    self._over.remove(self._turn)
                    self._turn += 1
                self._changed.notify_all()

    def _wait_for(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number)


def _pixels(frame: _Frame) -> Images:
    assert frame.job.image is not None
    return frame.job.image.pixels
