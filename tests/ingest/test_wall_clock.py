"""A clock that was set, by whatever step, is told from one that runs."""

from __future__ import annotations

import math

import pytest

from framecap.ingest.wall_clock import WallClock


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1.0, -1.0])
def test_after_a_step_it_has_run_steadily_for_as_long_as_that_is_ago(step: float) -> None:
    now, ahead = 100.0, 1e9
    clock = WallClock(lambda: now + ahead, lambda: now)
    now += 1000
    assert clock.stable_for() == math.inf
    ahead += step
    assert clock.stable_for() == 0
    now += 5
    assert (clock.stable_for(), clock.now()) == (5, now + ahead)


def test_a_clock_that_is_slewed_runs_steadily() -> None:
    now, ahead = 100.0, 1e9
    clock = WallClock(lambda: now + ahead, lambda: now)
    for _ in range(10_000):
        now += 10
        ahead += 0.005
        assert clock.stable_for() == math.inf
