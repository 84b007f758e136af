"""The table's arithmetic: medians, ratios, percentiles and verdicts are what they say."""

from __future__ import annotations

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.bench.figures import Figure, Ratio, Target, paired_ratio, percentile

amounts = st.floats(0.001, 1e6)
several = st.lists(amounts, min_size=1, max_size=20)


@given(several, st.floats(0, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], part: float) -> None:
    found = percentile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= part * len(values) - 1e-9
    smaller = [value for value in values if value < found]
    assert not smaller or len(smaller) < part * len(values) + 1e-9


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(several, st.floats(0.01, 100))
def test_the_ratio_is_that_of_the_pairs_whatever_the_machine_did_in_between(values: list[float], factor: float) -> None:
    assert paired_ratio([factor * value for value in values], values) == pytest.approx(factor)


@given(amounts, amounts)
def test_a_mark_holds_on_one_side_and_says_how_far_the_other_is(figure: float, value: float) -> None:
    least, most = Target("at least", value), Target("at most", value)
    assert least.holds(figure) or most.holds(figure)
    assert least.holds(figure) == (least.short_by(figure) == 0)
    assert least.short_by(figure) + most.short_by(figure) == pytest.approx(abs(figure - value) / value)
    assert not least.holds(math.nan)
    assert not most.holds(math.nan)


@given(several, amounts)
def test_the_json_holds_every_run_and_the_verdict(values: list[float], mark: float) -> None:
    figure = Figure("a.b", "what", "frames/s", tuple(values), Ratio(0.5, "of it"), Target("at least", mark))
    shown = json.loads(json.dumps(figure.as_json()))
    assert shown["median"] == statistics.median(values)
    assert (shown["least"], shown["most"]) == (min(values), max(values))
    assert shown["values"] == values
    assert shown["holds"] == (shown["median"] >= mark)


def test_what_was_not_measured_has_a_note_and_no_number() -> None:
    shown = Figure("a.b", "what", note="needs torch").as_json()
    assert shown["note"] == "needs torch"
    assert "median" not in shown
    assert math.isnan(Figure("a.b", "what").median)
