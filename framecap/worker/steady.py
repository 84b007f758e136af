"""Steady captions: a batch's frames and captions in; for each frame the caption of its scene out.

A caption flickers between frames of one scene: two sentences are about equally probable, and noise decides. So a camera's
last caption is kept as long as it is nearly as probable for the new frame as the frame's own. In the order of the frames'
times: one that is captioned after a later frame of its camera gets its own caption, and is no measure for others.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from framecap.captioning.caption import Caption, Captioner, Images
from framecap.worker.jobs import Job

Words = tuple[str, ...]


@runtime_checkable
class Scorer(Protocol):
    """A captioner that can say how probable other words are (one with probabilities of its own)."""

    def score(self, images: Sequence[Images], sentences: Sequence[Sequence[Words]]) -> list[list[float]]:
        """For each image its sentences' mean log-probability, the end included."""
        ...


@dataclass(frozen=True, slots=True)
class _Scene:
    """A caption that holds for now: its words, how it reads, and the time of the last frame that it was judged by."""

    words: Words
    text: str
    captured_at: datetime


@dataclass(slots=True)
class _Frame:
    """A captioned frame, and the captions that may be kept for it: those of the scenes before it."""

    job: Job
    caption: Caption
    captured_at: datetime
    others: list[Words]


class SteadyCaptions:
    """`margin`: by how much the kept caption's mean log-probability per word may be below that of the frame's own."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._scenes: dict[str, _Scene] = {}
        self._lock = threading.Lock()

    def settle(self, captioned: Sequence[tuple[Job, Caption]], captioner: Captioner) -> None:
        """Give each job its steady caption; a captioner that cannot score gives none."""
        if not isinstance(captioner, Scorer):
            return
        with self._lock:
            cameras: defaultdict[str, list[_Frame]] = defaultdict(list)
            for job, caption in captioned:
                cameras[job.camera()].append(_Frame(job, caption, job.captured_at(), []))
            for camera, frames in cameras.items():
                self._find_others(camera, frames)
            scores = self._scored([frame for frames in cameras.values() for frame in frames], captioner)
            for camera, frames in cameras.items():
                for frame in frames:
                    self._judge(camera, frame, scores.get(frame.job, {}))

    def forget(self) -> None:
        """Another model captions from now on, with words of its own."""
        with self._lock:
            self._scenes.clear()

    def _find_others(self, camera: str, frames: list[_Frame]) -> None:
        """What may be kept for each frame: the scene so far, and what this batch's earlier frames say."""
        frames.sort(key=lambda frame: frame.captured_at)
        scene = self._scenes.get(camera)
        seen: dict[Words, None] = {scene.words: None} if scene else {}
        for frame in frames:
            frame.others = [words for words in seen if words != frame.caption.words]
            seen[frame.caption.words] = None

    def _scored(self, frames: list[_Frame], captioner: Scorer) -> dict[Job, dict[Words, float]]:
        """How probable each frame's own words and the others are for it; frames that have no others need no look."""
        asked = [frame for frame in frames if frame.others and frame.caption.words]
        if not asked:
            return {}
        sentences = [(frame.caption.words, *frame.others) for frame in asked]
        found = captioner.score([frame.job.picture.pixels for frame in asked if frame.job.picture], sentences)
        return {
            frame.job: dict(zip(several, values, strict=True))
            for frame, several, values in zip(asked, sentences, found, strict=True)
        }

    def _judge(self, camera: str, frame: _Frame, scores: dict[Words, float]) -> None:
        scene, own = self._scenes.get(camera), frame.caption
        if scene is not None and frame.captured_at < scene.captured_at:
            frame.job.steady = own.text
            return
        words, text = own.words, own.text
        if scene is not None and scene.words in scores and scores[scene.words] >= scores[own.words] - self._margin:
            words, text = scene.words, scene.text
        self._scenes[camera] = _Scene(words, text, frame.captured_at)
        frame.job.steady = text
