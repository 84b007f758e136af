"""What must outlive the process: both or neither of what was looked at and what waits, whoever dies; bounds that hold."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from framecap.errors import ConfigError, StateUnavailable
from framecap.events.event import Previous
from framecap.events.state import EventState
from tests import command
from tests.events.factory import an_event
from tests.sidecars.committing import NOON


@pytest.fixture
def state(tmp_path: Path) -> EventState:
    return EventState(tmp_path / "state", "/frames")


def ids(state: EventState, action: str = "dog/webhook") -> list[str]:
    """Deliver everything: in which order?"""
    found = []
    while (waiting := state.next_due(action)) is not None:
        found.append(waiting.event.id)
        state.delivered(waiting.seq)
    return found


def test_what_is_put_is_there_after_a_restart_in_its_order_and_once(state: EventState, tmp_path: Path) -> None:
    made = [an_event(number) for number in range(5)]
    for event in made:
        assert state.put("dog/webhook", event, 1.0)
        assert not state.put("dog/webhook", event, 2.0)
        assert state.put("dog/mqtt", event, 1.0)
    state.close()
    retry_later = EventState(tmp_path / "state", "/frames")
    assert retry_later.count("dog/webhook") == (5, 1.0)
    waiting = retry_later.next_due("dog/webhook")
    assert waiting is not None
    assert waiting.event == made[0]
    assert ids(retry_later) == [event.id for event in made]
    assert retry_later.count("dog/mqtt")[0] == 5


def test_a_transaction_is_all_or_nothing(state: EventState) -> None:
    def broken() -> None:
        with state.transaction():
            state.put("dog/webhook", an_event(), 1.0)
            state.add("a.jpg", "1", 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert not state.holds("a.jpg", "1")
    assert state.next_due("dog/webhook") is None


DYING = """
import os, signal, sys
from pathlib import Path
from framecap.events.state import EventState
from tests.events.factory import an_event

state = EventState(Path(sys.argv[1]), "/frames")
for number in range(1_000_000):
    with state.transaction():
        state.put("dog/webhook", an_event(number), 1.0)
        if number == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        state.add(f"{number}.jpg", "1", 1.0)
"""


@pytest.mark.faults(1)
def test_killed_in_the_middle_of_a_transaction_nothing_of_it_is_there(tmp_path: Path) -> None:
    for number in (0, 7):
        folder = tmp_path / str(number)
        dying = [sys.executable, "-c", DYING, str(folder), str(number)]
        ended = subprocess.run(dying, env=command.environment(), cwd=command.ROOT, check=False, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        state = EventState(folder, "/frames")
        assert state.count("dog/webhook")[0] == number
        assert [state.holds(f"{one}.jpg", "1") for one in range(number + 1)] == [True] * number + [False]


def test_it_is_a_follower_s_memory(state: EventState) -> None:
    assert state.begin(100.0) == 100.0 == state.position
    state.add("a.jpg", "1", 50.0)
    state.add("b.jpg", "1", 60.0)
    state.add("b.jpg", "2", 61.0)
    assert (state.holds("a.jpg", "1"), state.holds("b.jpg", "1"), state.holds("b.jpg", "2")) == (True, False, True)
    state.advance(120.0, 55.0)
    assert (state.position, state.holds("a.jpg", "1"), state.holds("b.jpg", "2")) == (120.0, False, True)
    assert state.begin(500.0) == 100.0, "it began once"


def test_what_a_camera_showed_and_when_a_rule_was_met(state: EventState) -> None:
    assert (state.previous("door"), state.last_match("dog", "door")) == (None, None)
    newest = Previous("door/1.jpg", NOON + timedelta(microseconds=1), "A cat.")
    state.set_previous("door", newest)
    state.set_last_match("dog", "door", NOON)
    assert (state.previous("door"), state.last_match("dog", "door")) == (newest, NOON)
    assert (state.previous("gate"), state.last_match("dog", "gate"), state.last_match("cat", "door")) == (None, None, None)


def test_tried_again_later_the_others_first(state: EventState) -> None:
    first, second = an_event(1), an_event(2)
    state.put("dog/webhook", first, 1.0)
    state.put("dog/webhook", second, 1.0)
    waiting = state.next_due("dog/webhook")
    assert waiting is not None
    state.retry_later(waiting.seq, 5.0, "refused")
    assert ids(state) == [second.id, first.id]


def test_what_is_late_or_too_much_is_given_up_and_listed_and_put_back(state: EventState) -> None:
    made = [an_event(number) for number in range(10)]
    for number, event in enumerate(made):
        state.put("dog/webhook", event, float(number))
        state.put("dog/mqtt", event, float(number))
    assert state.bury("dog/webhook", 2.0, 100, 50.0, "late") == 2
    assert state.bury("dog/webhook", 2.0, 5, 51.0, "many") == 3
    assert state.bury("dog/webhook", 2.0, 5, 52.0, "many") == 0
    assert [(one.event.id, one.died, one.error) for one in state.dead()] == [
        *((event.id, 50.0, "late") for event in made[:2]),
        *((event.id, 51.0, "many") for event in made[2:5]),
    ]
    assert not state.put("dog/webhook", made[0], 60.0), "what was given up does not fire again"
    assert state.forget_dead("dog/webhook", 2) == 3
    assert [one.event.id for one in state.dead()] == [event.id for event in made[3:5]]
    assert state.requeue(70.0) == 2
    assert state.dead() == []
    assert ids(state) == [event.id for event in (*made[5:], *made[3:5])]
    assert state.count("dog/mqtt")[0] == 10


def test_one_process_delivers(state: EventState, tmp_path: Path) -> None:
    state.own()
    other = EventState(tmp_path / "state", "/frames")
    with pytest.raises(ConfigError, match="another process works there already"):
        other.own()
    state.close()
    other.own()


def test_another_store_s_state_is_refused(state: EventState, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"belongs to /frames, not s3://b: give events.state another directory"):
        EventState(tmp_path / "state", "s3://b")


def test_a_state_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "events.sqlite").write_bytes(b"this is no database" * 100)
    (tmp_path / "file").touch()
    for name, words in (("damaged", "not a database"), ("file", "File exists"), ("file/below", "Not a directory")):
        with pytest.raises(ConfigError, match=words):
            EventState(tmp_path / name, "/frames")


def test_a_disk_that_is_full_is_an_outage(state: EventState, monkeypatch: pytest.MonkeyPatch) -> None:
    with state._lock:
        state._database.execute("PRAGMA max_page_count = 1")

    def fill() -> None:
        for number in range(1000):
            with state.transaction():
                state.put("dog/webhook", an_event(number), 1.0)

    with pytest.raises(StateUnavailable, match="full"):
        fill()
    assert isinstance(state.count("dog/webhook")[0], int), "it can still be read"


def test_its_files_are_for_its_user_only(state: EventState, tmp_path: Path) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert sqlite3.threadsafety  # this build of SQLite may be shared by threads
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "state").iterdir())


@pytest.mark.parametrize("value", ["abc", None, float("inf"), b"1"])
def test_a_time_that_is_none_is_a_damaged_state(state: EventState, value: object) -> None:
    assert state.begin(1.0) == state.position == 1.0
    state._database.execute("UPDATE meta SET value = ? WHERE name IN ('began', 'position')", (value,))
    with pytest.raises(ConfigError, match=r"its began is not a time.*move a damaged one away"):
        state.begin(1.0)
    with pytest.raises(ConfigError, match="its position is not a time"):
        _ = state.position


def test_how_far_back_it_remembers_outlives_the_process(state: EventState, tmp_path: Path) -> None:
    state.begin(50.0)
    assert state.forgotten == float("-inf")
    state.advance(100.0, 40.5)
    state.advance(110.0, 30.0)
    state.close()
    assert EventState(tmp_path / "state", "/frames").forgotten == 40.5
