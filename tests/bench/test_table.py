"""The table as a person reads it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from framecap.bench.figures import Figure, Ratio, ReportSection, Target
from framecap.bench.table import draw, number, verdict


@given(st.floats(0.01, 1e9))
def test_a_number_is_shown_to_three_digits(value: float) -> None:
    shown = float(number(value).replace(",", ""))
    assert abs(shown - value) <= max(0.5, 0.006 * value) if value >= 100 else abs(shown - value) <= 0.006 * value


def test_numbers_that_are_none() -> None:
    assert number(math.nan) == "n/a"
    assert number(0.0) == "0"
    assert number(1234567.0) == "1,234,567"


def test_verdicts() -> None:
    assert verdict(Figure("a", "a", values=(90.0,), mark=Target("at least", 80))) == "mark: 80 or more: holds"
    assert verdict(Figure("a", "a", values=(60.0,), mark=Target("at least", 80))) == "mark: 80 or more: falls short by 25%"
    assert verdict(Figure("a", "a", values=(5.001,), mark=Target("at most", 5))) == "mark: 5 or less: falls short by 1%"
    assert verdict(Figure("a", "a", mark=Target("at most", 5))) == "mark: 5 or less"
    assert verdict(Figure("a", "a", values=(1.0,))) == ""


def test_columns_stand_below_each_other() -> None:
    sections = [
        ReportSection(
            "one", (Figure("a", "short", "ms", (1.0, 2.0, 3.0)), Figure("b", "a longer name", "frames/s", (123.0,)))
        ),
        ReportSection(
            "two", (Figure("c", "n", "ms", (7.0,), Ratio(0.5, "of it"), Target("at most", 8)), Figure("d", "m", note="why"))
        ),
    ]
    lines = draw(["head"], sections).splitlines()
    assert lines[0] == "head"
    assert [line for line in lines if not line.startswith(" ")] == ["head", "", "one", "", "two"]
    short, longer, marked, absent = (line for line in lines if line.startswith(" "))
    assert short.index(" ms") == longer.index(" frames/s") == marked.index(" ms")
    assert "1.00 to 3.00" in short
    assert "0.500 of it" in marked
    assert marked.endswith("mark: 8 or less: holds")
    assert absent.split() == ["m", "n/a", "why"]
