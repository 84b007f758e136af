"""The part of the table about near-duplicates: how many captions a still camera and a CCTV film are spared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from framecap.bench.figures import Figure, Ratio, ReportSection
from framecap.bench.images import QUALITY, one_scene
from framecap.bench.parts import Part, Step, Subject
from framecap.bench.pipeline import PipelineRun, fresh_folder, work_in
from framecap.frames import FrameName, make_key

CCTV = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")  # a square with people, 768x576, 80 s
_ON = {"worker": {"near_duplicates": {"enabled": True}}}
_STILL_FRAMES = 240  # one a second
_START = datetime(2026, 1, 1, tzinfo=UTC)


class NearDuplicatesBenchmark(Part):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.worked: dict[str, PipelineRun] = {}
        self._still_frames = min(_STILL_FRAMES, subject.size.frames)

    def steps(self) -> list[Step]:
        steps = [Step("a still camera", partial(self._measure, "still", self._still))]
        if CCTV.is_file():
            steps.append(Step("a CCTV film", partial(self._measure, "cctv", partial(self._film, 1))))
            if self.subject.size.full:
                steps.append(Step("a CCTV film, all frames", partial(self._measure, "cctv-all", partial(self._film, None))))
        return steps

    def _measure(self, name: str, make: Callable[[Path], int]) -> None:
        folder = fresh_folder(self.subject.bench)
        frames = make(folder)
        self.worked[name] = work_in(self.subject.bench, folder, frames, **_ON)
        shutil.rmtree(folder)

    def _still(self, folder: Path) -> int:
        """One scene, in the noise of a sensor and the light of a day."""
        generator = np.random.default_rng(1)
        scene = one_scene(generator).astype(np.float32)
        for number in range(self._still_frames):
            light = 1 + 0.05 * np.sin(number / 60)
            image = np.clip(light * scene + generator.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
            path = folder / make_key(FrameName("still", _START + timedelta(seconds=number), number))
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return self._still_frames

    def _film(self, fps: int | None, folder: Path) -> int:
        sampling = ["--fps", str(fps)] if fps else ["--all"]
        self.subject.bench.run("capture", CCTV, *sampling, "--frames", folder)
        return sum(1 for _ in folder.rglob("*.jpg"))

    def sections(self) -> list[ReportSection]:
        named = {
            "still": "a still camera, 1 frame/s",
            "cctv": "a CCTV film, 1 frame/s",
            "cctv-all": "a CCTV film, all 10 frames/s",
        }
        rows = [self._row(name, text) for name, text in named.items() if name in self.worked]
        if not CCTV.is_file():
            rows.append(Figure("near_duplicates.cctv", named["cctv"], note=f"needs {CCTV}: apt-get install opencv-doc"))
        return [ReportSection("captions saved by near-duplicates (worker.near_duplicates)", tuple(rows))]

    def _row(self, name: str, text: str) -> Figure:
        worked = self.worked[name]
        saved = worked.summary["duplicate"]
        ratio = Ratio(worked.speed / self.subject.capacity, "of end to end's speed") if self.subject.capacity else None
        note = f"{saved} of {worked.frames} frames"
        return Figure(f"near_duplicates.{name}", text, "%", (100 * saved / worked.frames,), ratio, note=note)
