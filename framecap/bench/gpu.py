"""A run on a GPU in; which part of the time the GPU was busy, as NVIDIA's driver counts it, out."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_EVERY_MS = 100
_COMMAND = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0", f"-lms={_EVERY_MS}")


class Watched:
    """A block of work during which the GPU is watched."""

    def __enter__(self) -> Self:
        self._out = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(_COMMAND, stdout=self._out, stderr=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._out.seek(0)
        self._samples = [float(line) for line in self._out.read().splitlines() if line.strip().isdigit()]
        self._out.close()

    def busy(self) -> float:
        """The part of the time between the first and the last work that the GPU worked; 0 where it never did."""
        return busy_part(self._samples)


def busy_part(samples: Sequence[float]) -> float:
    """Percentages in time order → the mean from the first to the last above zero, 0 to 1."""
    working = [place for place, sample in enumerate(samples) if sample > 0]
    if not working:
        return 0.0
    return statistics.mean(samples[working[0] : working[-1] + 1]) / 100
