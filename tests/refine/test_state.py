"""The refiner's state: whose turn it is, what the budget allows, and that neither is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.config import RefineBudgetConfig
from framecap.errors import ConfigError
from framecap.refine.state import MAX_WAITING, Candidate, RefineState

NO_LIMIT = RefineBudgetConfig(per_minute=None, per_day=None)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def open_state(folder: Path, budget: RefineBudgetConfig = NO_LIMIT, clock: Clock | None = None) -> RefineState:
    state = RefineState(folder, "/frames", budget, clock or Clock())
    state.begin(0.0)
    return state


def candidate(camera: str, at: float, version: str = "v") -> Candidate:
    return Candidate(f"{camera}/{at:.0f}.jpg", camera, at, at, version, "uncertain", 0)


def test_newest_frame_first_and_cameras_in_turn(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for at in range(100):
        state.add_candidate(candidate("flood", at))
    for at in (1, 2):
        state.add_candidate(candidate("door", at))
    taken = [state.take() for _ in range(6)]
    assert [one.key for one in taken if one] == [
        "door/2.jpg", "flood/99.jpg", "door/1.jpg", "flood/98.jpg", "flood/97.jpg", "flood/96.jpg",
    ]  # fmt: skip


def test_frame_in_flight_is_not_taken_twice_and_survives_a_kill(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    state.add_candidate(candidate("door", 1))
    taken = state.take()
    assert taken is not None
    assert state.take() is None
    state.close()  # as a kill leaves it: neither finished nor given back
    again = open_state(tmp_path).take()
    assert again == taken


def test_newer_commit_of_a_frame_still_waits_when_the_older_one_is_finished(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    state.add_candidate(candidate("door", 1, "first"))
    taken = state.take()
    assert taken is not None
    state.add_candidate(candidate("door", 1, "second"))
    state.finish(taken)
    again = state.take()
    assert again is not None
    assert again.version == "second"


def test_oldest_frames_beyond_the_limit_are_dropped(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    with state.transaction():
        dropped = sum(state.add_candidate(candidate("door", at)) for at in range(MAX_WAITING + 5))
    assert dropped == 5
    assert state.waiting() == MAX_WAITING


def test_frames_that_became_too_old_are_dropped_but_not_those_in_flight(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for at in (10, 20, 30):
        state.add_candidate(candidate("door", at))
    taken = state.take()
    assert taken is not None
    assert taken.captured_at == 30
    assert state.drop_older(40) == 2
    assert state.waiting() == 1


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0, 40), st.booleans()), max_size=60),
    per_minute=st.integers(1, 5),
    per_day=st.integers(5, 20),
    per_camera=st.integers(1, 3),
)
def test_no_window_ever_holds_more_charges_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, float, bool]],
    per_minute: int,
    per_day: int,
    per_camera: int,
) -> None:
    folder, clock = tmp_path_factory.mktemp("state"), Clock()
    budget = RefineBudgetConfig(per_minute=per_minute, per_day=per_day, per_camera_per_minute=per_camera)
    state, spent = open_state(folder, budget, clock), []
    for camera, seconds, restart in steps:
        clock.now += seconds
        if restart:
            state.close()
            state = open_state(folder, budget, clock)
        if state.charge(camera) is not None:
            spent.append((clock.now, camera))
        last_minute = [charged for at, charged in spent if at > clock.now - 60]
        assert len(last_minute) <= per_minute
        assert last_minute.count(camera) <= per_camera
        assert len([at for at, _ in spent if at > clock.now - 86_400]) <= per_day
    state.close()


def test_clock_that_is_set_back_neither_frees_nor_blocks_the_budget(tmp_path: Path) -> None:
    clock = Clock()
    state = open_state(tmp_path, RefineBudgetConfig(per_minute=2), clock)
    assert state.charge("a") and state.charge("a")  # noqa: PT018
    clock.now -= 86_400
    assert state.charge("a") is None
    clock.now += 61
    assert state.charge("a") is not None


def test_refund_frees_the_charge(tmp_path: Path) -> None:
    state = open_state(tmp_path, RefineBudgetConfig(per_minute=1))
    charge = state.charge("a")
    assert charge is not None
    assert state.charge("a") is None
    state.refund(charge)
    assert state.charge("a") is not None


def test_state_of_another_store_and_second_owner_are_refused(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    state.own()
    with pytest.raises(ConfigError, match="belongs to /frames, not /other"):
        RefineState(tmp_path, "/other", NO_LIMIT)
    with pytest.raises(ConfigError, match="another process works there already"):
        open_state(tmp_path).own()
