"""What the parts of a benchmark share: what is measured and how much of it in; the form of a part, and of its rows, out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from framecap.bench import FRAMES, PARTS, RUNS
from framecap.bench.captioner import MeasuredCaptioner, Speed
from framecap.bench.children import Bench
from framecap.bench.figures import Figure, Ratio, ReportSection, Target, paired_ratio
from framecap.bench.targets import Targets


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    frames: int = FRAMES  # of a throughput run
    runs: int = RUNS
    naive_frames: int = 24
    full: bool = False
    parts: tuple[str, ...] = PARTS

    @property
    def enough(self) -> bool:
        """For marks: fewer frames or runs than by default measure noise."""
        return self.frames >= FRAMES and self.runs >= RUNS


@dataclass(slots=True)
class Subject:
    """What is measured; parts leave here what later ones stand beside: operations a second, frames a second."""

    bench: Bench
    model: MeasuredCaptioner
    marks: Targets
    size: Size
    images: Sequence[Path]
    fp32_limit: float | None = None
    capacity: float | None = None  # end to end

    @property
    def device(self) -> str:
        return "cuda" if self.model.on_gpu else "cpu"

    def has(self, part: str) -> bool:
        return part in self.size.parts


class Step(NamedTuple):
    """One measurement, and what it is called while it runs."""

    what: str
    measure: Callable[[], None]


class Part(ABC):
    """Steps, then the sections that came of them."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def open(self, stack: ExitStack) -> None:  # noqa: B027 - most parts need nothing
        """Before the first step; what `stack` holds is closed after the last."""

    @abstractmethod
    def steps(self) -> list[Step]: ...

    @abstractmethod
    def sections(self) -> list[ReportSection]: ...


def scaled(values: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in values)


def rate(name: str, text: str, values: Sequence[float], note: str = "") -> Figure:
    """Operations a second."""
    return Figure(name, text, "GFLOP/s", scaled(values, 1e-9), note=note)


def speed(name: str, text: str, speeds: Sequence[Speed]) -> Figure:
    return Figure(name, text, "frames/s", tuple(one.frames for one in speeds))


def cpu(name: str, text: str, speeds: Sequence[Speed]) -> Figure:
    return Figure(name, text, "CPU-ms/frame", tuple(one.cpu_ms for one in speeds))


def beside(figure: Figure, others: Sequence[float], to: str) -> Figure:
    """With its ratio to another figure's values of the same runs, where there are any."""
    if not figure.values or not others:
        return figure
    return replace(figure, ratio=Ratio(paired_ratio(figure.values, others), to))


def times(name: str, text: str, ours: Sequence[float], theirs: Sequence[float], mark: Target | None) -> Figure:
    """How many times theirs ours is, by the runs."""
    return Figure(name, text, "times", tuple(own / other for own, other in zip(ours, theirs, strict=True)), mark=mark)
