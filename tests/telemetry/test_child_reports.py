"""Several processes seen as one: their samples side by side, and one that is silent, starting or missing is said."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric

from framecap.telemetry import child_reports as module
from framecap.telemetry.child_reports import ChildReport, ChildReports


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module._Process, "__init__", lambda self: _init(self, now[0]))
    return now


def _init(process: module._Process, now: float) -> None:
    process.heard, process.report, process.over = now, None, False


def metrics(frames: int, pending: int) -> list[Metric]:
    registry = CollectorRegistry()
    Counter("frames", "Frames", ["status"], registry=registry).labels("captioned").inc(frames)
    Gauge("pending", "Pending", registry=registry).set(pending)
    return list(registry.collect())


def test_samples_of_all_processes_stand_side_by_side() -> None:
    both = ChildReports("capture", "worker")
    both.started("capture")
    both.started("worker")
    both.heard("capture", ChildReport([], [], metrics(0, 0)))
    both.heard("worker", ChildReport([], [], metrics(7, 3)))
    families = {metric.name: metric for metric in both.collect()}
    assert families["frames"].type == "counter"
    values = {
        (sample.name, sample.labels["process"]): sample.value for family in families.values() for sample in family.samples
    }
    assert values["frames_total", "worker"] == 7
    assert values["frames_total", "capture"] == 0
    assert values["pending", "worker"] == 3
    assert {sample.labels.get("status") for sample in families["frames"].samples} == {"captioned"}


def test_health_from_the_first_process_to_the_last(clock: list[float]) -> None:
    both = ChildReports("capture", "worker")
    assert both.not_ready() == ["capture is not started yet", "worker is not started yet"]
    both.started("worker")
    assert both.not_ready() == ["worker is starting", "capture is not started yet"]
    both.heard("worker", ChildReport([], ["nothing is at work"], []))
    both.started("capture")
    both.heard("capture", ChildReport([], [], []))
    assert (both.not_alive(), both.not_ready()) == ([], ["worker: nothing is at work"])
    both.heard("worker", ChildReport(["leasing hangs"], ["leasing hangs"], []))
    assert (both.not_alive(), both.not_ready()) == (["worker: leasing hangs"], ["worker: leasing hangs"])
    both.heard("worker", ChildReport([], [], metrics(1, 1)))
    assert both.not_ready() == []
    clock[0] += 31
    assert both.not_alive() == ["worker has not been heard of for 31 s", "capture has not been heard of for 31 s"]
    both.over("capture")
    both.heard("worker", ChildReport([], [], metrics(1, 1)))
    assert both.not_ready() == [], "who has ended in good order is missed by nobody"
    both.over("worker")
    assert [sample.value for metric in both.collect() for sample in metric.samples if sample.name == "frames_total"] == [1]
