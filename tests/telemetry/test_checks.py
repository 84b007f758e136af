"""Health: a loop that stops beating is not alive, a process without work is not ready, checks count while watched."""

from __future__ import annotations

import pytest

from framecap.telemetry import checks as module
from framecap.telemetry.checks import Health, Heartbeat


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_heartbeat_that_stops_is_a_problem_and_one_that_rests_is_none(clock: list[float]) -> None:
    heartbeat = Heartbeat("leasing", 30)
    clock[0] += 1000
    assert heartbeat.problem() is None, "it has not begun"
    heartbeat.beat()
    clock[0] += 30
    assert heartbeat.problem() is None
    clock[0] += 5
    assert heartbeat.problem() == "leasing has not moved for 35 s"
    heartbeat.beat()
    assert heartbeat.problem() is None
    heartbeat.rest()
    clock[0] += 1000
    assert heartbeat.problem() is None


def test_a_process_in_which_nothing_is_at_work_lives_and_is_not_ready() -> None:
    health = Health()
    assert health.not_alive() == []
    assert health.not_ready() == ["nothing is at work yet, or any more"]
    with health.watching(ready=[lambda: None]):
        assert health.not_ready() == ["nothing is at work yet, or any more"], "who only looks does not work"


def test_checks_count_while_they_are_watched_each_as_often_as_it_is() -> None:
    health = Health()
    output: dict[str, str | None] = {"alive": None, "ready": None}

    def alive() -> str | None:
        return output["alive"]

    def ready() -> str | None:
        return output["ready"]

    with health.watching([alive], [ready]):
        assert (health.not_alive(), health.not_ready()) == ([], [])
        output["ready"] = "no space left"
        assert (health.not_alive(), health.not_ready()) == ([], ["no space left"])
        output["alive"] = "it hangs"
        with health.watching([alive]):
            assert health.not_alive() == ["it hangs", "it hangs"]
        assert (health.not_alive(), health.not_ready()) == (["it hangs"], ["it hangs", "no space left"])
    assert health.not_alive() == []


def test_checks_of_what_failed_count_no_more() -> None:
    health = Health()
    with pytest.raises(ZeroDivisionError), health.watching([lambda: "it hangs"]):
        raise ZeroDivisionError
    assert health.not_alive() == []
