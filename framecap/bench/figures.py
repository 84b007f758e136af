"""Values of several runs in; figures with their median, their spread, their ratio to another and the mark's verdict out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach: `at least` or `at most` the value."""

    direction: Literal["at least", "at most"]
    value: float

    def holds(self, figure: float) -> bool:
        """NaN never holds."""
        return figure >= self.value if self.direction == "at least" else figure <= self.value

    def short_by(self, figure: float) -> float:
        """By which part of the mark the figure misses it; 0 where it holds."""
        return 0.0 if self.holds(figure) else abs(figure - self.value) / self.value


@dataclass(frozen=True, slots=True)
class Ratio:
    """This figure beside another of the same run."""

    value: float
    to: str  # as it reads after "0.73 of": "the captioner"


@dataclass(frozen=True, slots=True)
class Figure:
    """A row: `name` is for the JSON and never changes, `text` for the table; without values there is a note why."""

    name: str
    text: str
    unit: str = ""
    values: tuple[float, ...] = ()
    ratio: Ratio | None = None
    mark: Target | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """NaN without values."""
        return statistics.median(self.values) if self.values else math.nan

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows; None where there is nothing."""
        found: dict[str, Any] = {"name": self.name, "text": self.text, "unit": self.unit, "note": self.note or None}
        if self.values:
            found |= {
                "median": self.median,
                "least": min(self.values),
                "most": max(self.values),
                "values": list(self.values),
            }
        if self.ratio:
            found |= {"ratio": self.ratio.value, "ratio_to": self.ratio.to}
        if self.mark:
            found |= {"mark": f"{self.mark.direction} {self.mark.value:g}"}
            found |= {"holds": self.mark.holds(self.median), "short_by": self.mark.short_by(self.median)}
        return found


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Rows that belong together."""

    title: str
    figures: tuple[Figure, ...]


def paired_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the runs' own ratios: what the machine did in one run hit both. NaN without runs."""
    pairs = [value / other for value, other in zip(values, others, strict=True) if other]
    return statistics.median(pairs) if pairs else math.nan


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of the values that `part` (0 to 1) of them do not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("no values have no percentile")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
