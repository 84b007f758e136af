"""Near-duplicates: decoded frames in, out come those to caption and those that get the caption of a committed frame.

Judged per camera in the order of the leases. A duplicate waits for its original's commit and names only an original that
this worker committed itself; where that did not happen, it is judged again without it. No I/O, no threads of its own.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from framecap.config import NearDuplicatesConfig
from framecap.sidecars.sidecar import Sidecar
from framecap.worker.jobs import Job


@dataclass(slots=True)
class DuplicateVerdicts:
    """What is to be done now: frames to caption, and frames to commit as duplicates (their outcome is set)."""

    to_caption: list[Job] = field(default_factory=list)
    duplicates: list[Job] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Original:
    """A frame to caption that others may be duplicates of; they wait for its sidecar."""

    looks: int
    captured_at: datetime
    sidecar: Sidecar | None = None
    waiting: list[Job] = field(default_factory=list)


@dataclass(slots=True)
class _Camera:
    """A camera's frames that are yet to be judged, in order, and its last captioned frame."""

    expected: deque[Job] = field(default_factory=deque)
    decoded: set[Job] = field(default_factory=set)
    last: _Original | None = None


class NearDuplicates:
    """Safe to use from several threads."""

    def __init__(self, config: NearDuplicatesConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._cameras: defaultdict[str, _Camera] = defaultdict(_Camera)
        self._uncommitted: dict[Job, _Original] = {}

    def leased(self, job: Job) -> None:
        """The job will come, after those of its camera that were leased before."""
        with self._lock:
            self._cameras[job.camera()].expected.append(job)

    def decoded(self, job: Job) -> DuplicateVerdicts:
        with self._lock:
            camera = self._cameras[job.camera()]
            camera.decoded.add(job)
            return self._judge_in_order(camera, DuplicateVerdicts())

    def ended(self, job: Job, sidecar: Sidecar | None) -> DuplicateVerdicts:
        """The job left the hand: with the sidecar that this worker committed, or without one of its own."""
        with self._lock:
            camera = self._cameras[job.camera()]
            verdicts = DuplicateVerdicts()
            original = self._uncommitted.pop(job, None)
            if original is not None:
                self._settle(original, camera, sidecar, verdicts)
            elif job in camera.expected:
                camera.expected.remove(job)
                camera.decoded.discard(job)
            else:
                for other in self._uncommitted.values():
                    if job in other.waiting:
                        other.waiting.remove(job)
            return self._judge_in_order(camera, verdicts)

    def _settle(self, original: _Original, camera: _Camera, sidecar: Sidecar | None, verdicts: DuplicateVerdicts) -> None:
        waiting, original.waiting = original.waiting, []
        if sidecar is not None and sidecar.status == "captioned":
            original.sidecar = sidecar
            for job in waiting:
                job.outcome = sidecar
            verdicts.duplicates += waiting
            return
        if camera.last is original:
            camera.last = None
        for job in waiting:
            self._judge(camera, job, verdicts)

    def _judge_in_order(self, camera: _Camera, verdicts: DuplicateVerdicts) -> DuplicateVerdicts:
        while camera.expected and camera.expected[0] in camera.decoded:
            job = camera.expected.popleft()
            camera.decoded.discard(job)
            self._judge(camera, job, verdicts)
        return verdicts

    def _judge(self, camera: _Camera, job: Job, verdicts: DuplicateVerdicts) -> None:
        assert job.image is not None
        looks, last = job.image.perceptual_hash, camera.last
        now = datetime.now(UTC)
        captured_at = min(job.captured_at(), now)  # a clock of the future must not hide the present
        if last and last.captured_at > now:  # nor one that was ahead and has been set back
            last = None
        age = (captured_at - last.captured_at).total_seconds() if last else 0.0
        if last and 0 <= age < self._config.heartbeat_seconds and (looks ^ last.looks).bit_count() <= self._config.distance:
            if last.sidecar is None:
                last.waiting.append(job)
            else:
                job.outcome = last.sidecar
                verdicts.duplicates.append(job)
            return
        if age >= 0:  # a frame that comes late is no measure for those after it
            camera.last = self._uncommitted[job] = _Original(looks, captured_at)
        verdicts.to_caption.append(job)
