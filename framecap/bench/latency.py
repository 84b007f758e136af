"""The part of the table about latency: how long after a frame's close its sidecar can be read, and what the worker holds."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from framecap.bench.arrivals import latencies, running_worker
from framecap.bench.children import proportional_bytes
from framecap.bench.figures import Figure, ReportSection, percentile
from framecap.bench.parts import Part, Step, Subject, scaled

_USUAL = ((1.0, 15), (10.0, 100))  # frames a second, and how many
_FULL = ((1.0, 100), (10.0, 300), (50.0, 1500))
_LOAD, _SECONDS = 0.8, 20  # of the capacity, for so long


class Latency(Part):
    """See the module."""

    folder: Path

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.seconds: dict[str, list[float]] = {}
        self.memory: list[int] = []
        self._most = 3 * subject.size.frames

    def open(self, stack: ExitStack) -> None:
        self.folder, self.worker = stack.enter_context(running_worker(self.subject.bench, self.subject.images))

    def steps(self) -> list[Step]:
        full = self.subject.size.full
        steps = [
            Step(f"{rate:g} frames/s", partial(self._measure, f"{rate:g}", rate, min(count, self._most)))
            for rate, count in (_FULL if full else _USUAL)
        ]
        return [*steps, Step("80% of capacity", self._loaded)] if full and self.subject.has("pipeline") else steps

    def _loaded(self) -> None:
        self._measure("80%", self._load(), min(round(_SECONDS * self._load()), self._most))

    def _load(self) -> float:
        assert self.subject.capacity is not None  # else there is no such step
        return _LOAD * self.subject.capacity

    def _measure(self, name: str, rate: float, count: int) -> None:
        self.seconds[name] = latencies(self.folder, self.subject.images, rate, count)
        self.memory.append(proportional_bytes(self.worker.pid))

    def sections(self) -> list[ReportSection]:
        rows = []
        for name, seconds in self.seconds.items():
            at = f"{name} frames/s" if name != "80%" else f"80% of capacity ({self._load():.0f} frames/s)"
            milliseconds = scaled(seconds, 1000)
            high, higher = (percentile(milliseconds, part) for part in (0.95, 0.99))
            note = f"p95 {high:.0f}, p99 {higher:.0f} ms, of {len(seconds)} frames"
            rows.append(Figure(f"latency.{name}", f"at {at}", "ms", milliseconds, note=note))
        megabytes = tuple(value / 1e6 for value in self.memory)
        rows.append(Figure("latency.memory", "memory, with the decoders", "MB", megabytes, note="shared pages divided"))
        return [ReportSection("from a frame's close to its readable sidecar", tuple(rows))]
