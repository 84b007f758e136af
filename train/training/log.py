"""The numbers of each step in; the seed's lines on the terminal and in log.txt, and TensorBoard's curves, out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

LINE_EVERY = 100  # steps
CURVE_EVERY = 10  # steps


@dataclass
class Meter:
    """The last value and, in brackets, the mean of all."""

    decimals: int
    last: float = 0.0
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.last = value
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)

    def __str__(self) -> str:
        return f"{self.last:.{self.decimals}f} ({self.mean:.{self.decimals}f})"


class Clock:
    """How long the steps take, and how much of it is waiting for images."""

    def __init__(self) -> None:
        self.step, self.loading = Meter(3), Meter(3)
        self._since = time.perf_counter()

    def loaded(self) -> None:
        """The batch is there."""
        self.loading.add(time.perf_counter() - self._since)

    def done(self) -> None:
        """The step is over, the next batch is asked for."""
        now = time.perf_counter()
        self.step.add(now - self._since)
        self._since = now


class TrainingLog:
    """Where a run speaks. `length`: of log.txt, in bytes; a resumed run cuts off what was written after its checkpoint."""

    def __init__(self, folder: Path, length: int, step: int) -> None:
        self._path = folder / "log.txt"
        self._path.touch()
        os.truncate(self._path, min(length, self._path.stat().st_size))
        self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    @property
    def length(self) -> int:
        return self._path.stat().st_size

    def line(self, text: str) -> None:
        print(text, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def curves(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._curves.add_scalar(name, value, step)

    def close(self) -> None:
        self._curves.close()


class NullLog(TrainingLog):
    """The other processes of a run on several devices."""

    def __init__(self) -> None:
        pass

    @property
    def length(self) -> int:
        return 0

    def line(self, text: str) -> None:
        pass

    def curves(self, values: Mapping[str, float], step: int) -> None:
        pass

    def close(self) -> None:
        pass
