"""Sections of figures in; the table that a person reads out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from framecap.bench.figures import Figure, ReportSection

_DIGITS = 3  # of a figure: more would be noise
_NOTHING = "n/a"


def draw(head: Sequence[str], sections: Sequence[ReportSection]) -> str:
    """The whole table: what, median, its unit, the spread over the runs, the ratio, the mark's verdict or a note."""
    rows = [_cells(figure) for section in sections for figure in section.figures]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    lines = [*head]
    for section in sections:
        lines += ["", section.title]
        lines += [_line(_cells(figure), widths) for figure in section.figures]
    return "\n".join(lines)


def number(value: float) -> str:
    """The value as it reads best: three digits, thousands separated."""
    if math.isnan(value):
        return _NOTHING
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 4)}f}"


def verdict(figure: Figure) -> str:
    """Whether the mark holds, and by how much the figure falls short."""
    if figure.mark is None:
        return ""
    mark = f"{figure.mark.value:g} or {'more' if figure.mark.direction == 'at least' else 'less'}"
    if not figure.values:
        return f"mark: {mark}"
    if figure.mark.holds(figure.median):
        return f"mark: {mark}: holds"
    return f"mark: {mark}: falls short by {max(1, round(100 * figure.mark.short_by(figure.median)))}%"


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = f"{number(figure.ratio.value)} {figure.ratio.to}" if figure.ratio else ""
    return (
        figure.text,
        number(figure.median),
        figure.unit if figure.values else "",
        _spread(figure.values),
        ratio,
        "; ".join(filter(None, (verdict(figure), figure.note))),
    )


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{number(min(values))} to {number(max(values))}"


def _line(cells: tuple[str, ...], widths: Sequence[int]) -> str:
    text, value, unit, spread, ratio, rest = cells
    columns = [
        f"  {text:{widths[0]}}",
        f"{value:>{widths[1]}} {unit:{widths[2]}}",
        f"{spread:{widths[3]}}",
        f"{ratio:{widths[4]}}",
        rest,
    ]
    return "  ".join(columns).rstrip()
