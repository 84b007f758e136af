"""The simulated fleet: no frame is lost or made; one that is large enough catches up; the documented costs are computed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fleet_costs, scale_page
from benchmarks.fleet_model import Batch, Fleet, Line, Settings, simulate
from tests.deploy.tools import ROOT

fleets = st.builds(
    Settings,
    cameras=st.integers(1, 300),
    fps=st.floats(0.1, 3),
    worker_rate=st.floats(1, 200),
    in_flight=st.integers(1, 64),
    visibility=st.integers(10, 60),
    max_receives=st.integers(1, 5),
    crash=st.floats(0, 0.05),
    reclaim=st.tuples(st.integers(0, 300), st.floats(0, 1)),
    outage=st.tuples(st.integers(0, 300), st.integers(0, 200)),
    spool_speed=st.floats(1, 5),
    lost=st.floats(0, 0.1),
    unreadable=st.floats(0, 0.1),
    reconcile_every=st.integers(1, 200),
    reconcile_older=st.integers(0, 100),
    messages_per_worker=st.integers(1, 500),
    planned_rate=st.sampled_from([0.0, 50.0]),
    workers=st.tuples(st.integers(0, 2), st.integers(2, 20)),
    start=st.integers(0, 60),
    settle=st.integers(1, 60),
    down=st.floats(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(fleets, st.integers(0, 2**32))
def test_no_frame_is_lost_and_none_is_made(fleet_settings: Settings, seed: int) -> None:
    fleet = Fleet(fleet_settings, np.random.default_rng(seed))
    before = 0
    for _ in range(400):
        fleet.step()
        counts = fleet.counts()
        assert counts.conserved(), counts
        assert 0 <= counts.workers <= fleet_settings.workers[1] + len(fleet.starting)
        holding = max(1, before, counts.workers + len(fleet.starting))  # who was told to stop gives back a second later
        assert counts.in_flight <= holding * fleet_settings.in_flight
        before = counts.workers + len(fleet.starting)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 200), st.integers(0, 2**32), st.booleans())
def test_a_fleet_that_is_large_enough_catches_up_after_an_outage(cameras: int, seed: int, by_rate: bool) -> None:
    """And with the load above what it can do the backlog grows: the test can fail."""
    enough = Settings(
        cameras=cameras,
        hours=1,
        worker_rate=10.0,
        workers=(0, 2 + cameras // 4),  # two and a half times the load
        outage=(600, 300),
        reclaim=(1200, 0.5),
        messages_per_worker=200,
        planned_rate=8.0 if by_rate else 0.0,
        night=1.0,
        lost=0.0,
        unreadable=0.0,
    )
    _, minutes = simulate(enough, seed)
    assert max(one.age for one in minutes) >= 290
    assert min(one.age for one in minutes[-15:]) <= 1
    too_few = Settings(cameras=cameras * 10, hours=0.5, worker_rate=1.0, workers=(1, 1 + cameras), night=1.0, lost=0.0)
    _, minutes = simulate(too_few, seed)
    assert minutes[-1].age > minutes[len(minutes) // 2].age > 60


def test_the_same_seed_gives_the_same_day() -> None:
    small = Settings(cameras=50, hours=0.2)
    assert simulate(small, 7)[1] == simulate(small, 7)[1]
    assert simulate(small, 7)[1] != simulate(small, 8)[1]


def test_a_message_that_no_one_can_end_is_dead_lettered_after_its_receives() -> None:
    fleet = Fleet(Settings(cameras=1, fps=1e-9, workers=(1, 1), visibility=20, max_receives=4), np.random.default_rng(1))
    fleet.workers = 1
    fleet.arrived = 3
    fleet.queue.add(Batch(0, 3, readable=False))
    for _ in range(4 * 20):
        fleet.step()
    assert fleet.dead == 0
    for _ in range(2):
        fleet.step()
    assert (fleet.dead, fleet.counts().conserved()) == (3, True)


def test_a_frame_whose_workers_die_is_given_up_while_its_message_is_still_to_be_had() -> None:
    fleet = Fleet(Settings(cameras=1, fps=1e-9, workers=(1, 1), max_receives=4), np.random.default_rng(1))
    fleet.workers = 1
    fleet.arrived = 2
    fleet.queue.add(Batch(0, 2, received=2))
    fleet.step()
    assert (fleet.poison, fleet.dead) == (2, 0)


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 500))
def test_a_line_gives_its_first_frames_first(sizes: list[int], count: int) -> None:
    line = Line()
    for captured, size in enumerate(sizes):
        line.add(Batch(captured, size))
    taken = line.take(count)
    assert sum(one.count for one in taken) == min(count, sum(sizes))
    assert line.count == sum(sizes) - sum(one.count for one in taken)
    assert [one.captured for one in taken] == sorted(one.captured for one in taken)


def test_the_document_has_the_computed_costs_and_the_measured_figures() -> None:
    page = scale_page.PAGE.read_text()
    assert scale_page.filled(page, scale_page.QUICK) == page, "run python -m benchmarks.scale_page"
    assert set(scale_page.parts_of(page)) == scale_page.QUICK.keys() | scale_page.SIMULATED.keys()


def test_storage_is_cheaper_by_the_terabyte() -> None:
    assert fleet_costs.storage(1000) == pytest.approx(23)
    assert fleet_costs.storage(100_000) == pytest.approx(50_000 * 0.023 + 50_000 * 0.022)
    assert fleet_costs.storage(600_000) == pytest.approx(50_000 * 0.023 + 450_000 * 0.022 + 100_000 * 0.021)


def test_the_default_day_in_the_document_was_simulated_with_the_default_settings() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    fleet = fleet_costs.Fleet()
    simulated = Settings()
    assert (simulated.cameras, simulated.fps, simulated.worker_rate) == (fleet.cameras, fleet.fps, fleet.worker_rate)
    (last,) = re.findall(r"^24:00 .*$", page, re.MULTILINE)
    night = simulated.cameras * simulated.night
    assert float(last.split()[1].replace(",", "")) == pytest.approx(night, rel=0.02)
