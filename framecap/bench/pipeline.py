"""Images on a disk in; the speed and the CPU time of `framecap work --once` with them out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framecap.bench.children import Bench, Cost, MeasurementFailed


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """Frames a second from the worker's first look for frames to its end, the run's cost, its process's largest size in
    bytes, how many were captioned, and when (seconds since 1970) each sidecar was written."""

    frames: int
    seconds: float
    cost: Cost
    peak: int
    summary: dict[str, Any]
    commits: tuple[float, ...]

    @property
    def speed(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    def cpu_ms(self, start: Cost) -> float:
        """CPU-milliseconds a frame, without what a run without frames costs."""
        return 1000 * (self.cost.cpu_seconds - start.cpu_seconds) / self.frames


def work(bench: Bench, images: Sequence[Path], cameras: int = 1, rounds: int = 1, **changes: Any) -> PipelineRun:
    """Caption them in a fresh place, spread over so many cameras, each image so many times (rounds) under another name.

    `changes`: see Bench.settings.
    """
    folder = fresh_folder(bench)
    for turn in range(rounds):
        for number, image in enumerate(images):
            camera = folder / f"camera-{number % cameras}"
            camera.mkdir(exist_ok=True)
            os.link(image, camera / f"{turn}-{image.name}")
    try:
        return work_in(bench, folder, rounds * len(images), **changes)
    finally:
        shutil.rmtree(folder)


def nothing(bench: Bench, **changes: Any) -> Cost:
    """What the same costs where there are no frames: start and end."""
    return work_in(bench, fresh_folder(bench), 0, **changes).cost


def work_in(bench: Bench, folder: Path, expected: int, **changes: Any) -> PipelineRun:
    """Caption what is pending there. Raises MeasurementFailed unless so many frames get their sidecar."""
    ran = bench.run("work", "--once", "--frames", folder, "--config", bench.settings(**changes))
    summary: dict[str, Any] = next((line for line in reversed(ran.lines) if "captioned" in line and "seconds" in line), {})
    done = summary.get("captioned", 0) + summary.get("duplicate", 0)
    if done != expected:
        raise MeasurementFailed(f"{done} of {expected} frames were captioned: {summary}")
    commits = tuple(path.stat().st_mtime for path in folder.rglob("*.json"))
    return PipelineRun(expected, summary.get("seconds", 0.0), ran.cost, ran.peak, summary, commits)


def fresh_folder(bench: Bench) -> Path:
    """An empty folder."""
    folder = bench.folder / "place"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
