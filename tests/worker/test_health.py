"""How a worker is seen: the age of the oldest pending frame, and pulses and troubles for as long as it works."""

from __future__ import annotations

import time

import pytest

from framecap.ingest.base import Backlog
from framecap.telemetry import health, oldest_pending_seconds
from framecap.worker.health import WorkerHealth


class Waiting:
    """An ingest of which only the backlog is asked."""

    def __init__(self, oldest: float | None) -> None:
        self.oldest = oldest

    def backlog(self) -> Backlog:
        return Backlog(0 if self.oldest is None else 1, 0, self.oldest)


def seconds() -> float:
    (metric,) = oldest_pending_seconds.collect()
    return metric.samples[0].value


def test_the_age_of_the_oldest_frame_is_looked_up_when_somebody_asks() -> None:
    ingest = Waiting(time.time() - 100)
    with WorkerHealth(ingest, [], 1).seen():  # type: ignore[arg-type]
        assert seconds() == pytest.approx(100, abs=5)
        ingest.oldest = time.time() + 3600  # a clock was wrong
        assert seconds() == 0
        ingest.oldest = None
        assert seconds() == 0
        ingest.oldest = 1.0
    assert seconds() == 0


def test_heartbeats_and_errors_count_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[str | None] = [None]
    health_check = WorkerHealth(Waiting(None), [lambda: errors[0]], 2)  # type: ignore[arg-type]
    with health_check.seen():
        assert (health.not_alive(), health.not_ready()) == ([], [])
        errors[0] = "no space"
        assert (health.not_alive(), health.not_ready()) == ([], ["no space"])
        health_check.captioning[1].beat()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 100)
        assert health.not_alive() == ["leasing has not moved for 100 s"], "a batch may take longer"
        monkeypatch.setattr(time, "monotonic", lambda: now + 700)
        assert health.not_alive() == ["leasing has not moved for 700 s", "captioning 1 has not moved for 700 s"]
    assert health.not_alive() == []
