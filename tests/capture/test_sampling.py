"""Sampling keeps the wanted rate, whatever the rounding and jitter of timestamps; stream time always rises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framecap.capture.sampling import MAX_GAP_SECONDS, Sampler, Sampling, StreamClock, usual_rate


def kept(sampling: Sampling, times: list[float], slack: float = 0.001) -> list[int]:
    sampler = Sampler(sampling, slack)
    return [index for index, seconds in enumerate(times) if sampler.keeps(index, seconds)]


def test_all() -> None:
    assert kept(Sampling(), [0, 0, 0]) == [0, 1, 2]


def test_every_nth() -> None:
    assert kept(Sampling(every=3), [0.0] * 8) == [0, 3, 6]


def test_frames_per_second_by_the_streams_time() -> None:
    assert kept(Sampling(fps=1), [index / 10 for index in range(35)]) == [0, 10, 20, 30]


def test_uneven_times() -> None:
    assert kept(Sampling(fps=1), [0, 0.1, 0.9, 1.2, 1.9, 5.0, 5.5, 6.0]) == [0, 3, 5, 7]


def test_the_first_frame_begins_the_count_wherever_the_clock_stands() -> None:
    assert kept(Sampling(fps=1), [100.7, 101.6, 101.7]) == [0, 2]


@given(st.sampled_from([5.0, 12.5, 15.0, 23.976, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0]), st.integers(0, 2000))
def test_at_the_streams_own_rate_nothing_is_lost_to_rounded_timestamps(fps: float, first: int) -> None:
    times = [round((first + index) / fps, 3) for index in range(300)]  # Matroska: milliseconds
    assert kept(Sampling(fps=fps), times) == list(range(300))


@given(st.lists(st.floats(-0.3, 0.3), min_size=200, max_size=200))
def test_at_a_live_streams_own_rate_nothing_is_lost_to_jitter(jitter: list[float]) -> None:
    fps = 25.0
    times = [(10 + index + late) / fps for index, late in enumerate([0.0, *jitter[1:]])]
    assert kept(Sampling(fps=fps), times, slack=0.5 / fps) == list(range(200))


@given(st.floats(0.01, 100), st.lists(st.floats(0, 3), max_size=200))
def test_never_more_than_asked_for(fps: float, steps: list[float]) -> None:
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    assert len(kept(Sampling(fps=fps), times)) <= (times[-1] + 0.001) * fps + 1


def test_good_timestamps_are_taken_as_they_are() -> None:
    clock = StreamClock(25)
    assert [clock.seconds(at) for at in (0, 41.7, 1000, 60_000)] == [0, 0.0417, 1, 60]
    assert clock.repaired == 0


def test_without_timestamps_the_frame_rate_counts() -> None:
    clock = StreamClock(10)
    assert [round(clock.seconds(0), 6) for _ in range(4)] == [0, 0.1, 0.2, 0.3]
    assert clock.repaired == 3


def test_a_lost_last_timestamp() -> None:
    clock = StreamClock(10)
    assert [round(clock.seconds(at), 6) for at in (100, 200, 0)] == [0.1, 0.2, 0.3]


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(numbers, st.lists(numbers | st.floats(-1e6, 1e6), max_size=50))
def test_stream_time_rises_and_never_leaps(fps: float, stated: list[float]) -> None:
    clock = StreamClock(fps)
    last = None
    for milliseconds in stated:
        seconds = clock.seconds(milliseconds)
        if last is not None:
            assert last < seconds <= last + MAX_GAP_SECONDS
        last = seconds


@given(numbers)
def test_a_rate_is_always_usable(fps: float) -> None:
    assert 0.1 <= usual_rate(fps) <= 1000
