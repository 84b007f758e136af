"""Waiting times grow to their maximum, keep it, and are not hammered with wrong passwords."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framecap.runtime.backoff import REFUSED_FACTOR, Backoff


@given(st.floats(0.1, 10), st.floats(10, 100))
def test_it_grows_to_the_maximum(minimum: float, maximum: float) -> None:
    backoff = Backoff(minimum, maximum)
    delays = [backoff.failed() for _ in range(20)]
    assert 0.5 * minimum <= delays[0] <= minimum
    assert all(delay <= maximum for delay in delays)
    assert delays[-1] >= 0.5 * maximum


def test_two_cameras_do_not_try_in_step() -> None:
    first, second = Backoff(1, 30), Backoff(1, 30)
    assert [first.failed() for _ in range(5)] != [second.failed() for _ in range(5)]


def test_reset() -> None:
    backoff = Backoff(1, 30)
    for _ in range(10):
        backoff.failed()
    backoff.reset()
    assert backoff.failed() <= 1


def test_a_minimum_above_the_maximum_is_the_maximum() -> None:
    assert Backoff(60, 30).failed() <= 30


def test_a_refusal_waits_at_least_the_maximum_and_ever_longer() -> None:
    backoff = Backoff(1, 30)
    assert [backoff.refused() for _ in range(6)] == [30, 60, 120, 240, 30 * REFUSED_FACTOR, 30 * REFUSED_FACTOR]
