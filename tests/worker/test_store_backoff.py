"""Patience: longer with every failure in a row, gone with a success."""

from __future__ import annotations

import logging

import pytest

from framecap.worker import store_backoff
from framecap.worker.store_backoff import StoreBackoff


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(store_backoff.time, "monotonic", lambda: now[0])
    return now


def test_the_wait_doubles_up_to_a_limit_and_ends_with_a_success(clock: list[float]) -> None:
    patient = StoreBackoff()
    assert (patient.in_outage, patient.wait) == (False, 0.0)
    waits = []
    for _ in range(9):
        waits.append(patient.failed(OSError("away")))
        assert patient.wait == waits[-1]
        clock[0] += waits[-1]
        assert (patient.in_outage, patient.wait) == (True, 0.0)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    patient.worked()
    assert (patient.in_outage, patient.wait) == (False, 0.0)
    assert patient.failed(OSError("away again")) == 0.5


def test_failures_at_the_same_time_are_one(clock: list[float]) -> None:
    patient = StoreBackoff()
    assert {patient.failed(OSError("away")) for _ in range(64)} == {0.5}


def test_outage_is_reported_once_a_minute(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    patient = StoreBackoff()
    with caplog.at_level(logging.WARNING, "framecap"):
        for _ in range(100):
            patient.failed(OSError("away"))
            patient.worked()
            clock[0] += 1
    assert len(caplog.records) == 2
