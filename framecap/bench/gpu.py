"""A run on a GPU in; which part of its saturated time the GPU was busy, as NVIDIA's driver counts it, out."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from framecap.bench.figures import percentile

_EVERY_MS = 100
_COMMAND = ("nvidia-smi", "--query-gpu=timestamp,utilization.gpu", "--format=csv,noheader,nounits", f"-lms={_EVERY_MS}")
_TIME = "%Y/%m/%d %H:%M:%S.%f"


class Sample(NamedTuple):
    """At a time (seconds since 1970) a kernel had run for so many percent of the last moments."""

    at: float
    percent: float


class GpuMonitor:
    """A block of work during which the GPU of this name (see `in_use`) is watched."""

    def __init__(self, device: str) -> None:
        self._command = [*_COMMAND, f"--id={device}"]

    def __enter__(self) -> Self:
        self._out = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, env=os.environ | {"TZ": "UTC0"}, stdout=self._out, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._out.seek(0)
        self._samples = read_samples(self._out.read())
        self._out.close()

    def busy(self, commits: Sequence[float]) -> float | None:
        """See `busy_part`."""
        return busy_part(self._samples, commits)


def in_use() -> str:
    """The GPU that a worker takes, as the driver's tool names it, whatever CUDA_VISIBLE_DEVICES says."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(0).uuid}"


def read_samples(printed: str) -> list[Sample]:
    """Of what the tool printed, in UTC; a line that is cut off or has no number is skipped."""
    samples = []
    for line in printed.splitlines():
        time, _, percent = line.partition(", ")
        if percent.strip().isdigit():
            samples.append(Sample(datetime.strptime(time, _TIME).replace(tzinfo=UTC).timestamp(), float(percent)))
    return samples


def saturated(commits: Sequence[float]) -> tuple[float, float]:
    """Between which times a run had work in every stage: from its 10th to its 90th percentile of sidecars."""
    return percentile(commits, 0.1), percentile(commits, 0.9)


def busy_part(samples: Sequence[Sample], commits: Sequence[float]) -> float | None:
    """The part of the saturated time that the GPU worked, 0 to 1; None where nobody looked then.

    `commits`: when the run's sidecars were written.
    """
    begin, end = saturated(commits)
    found = [sample.percent for sample in samples if begin <= sample.at <= end]
    return statistics.mean(found) / 100 if found else None
