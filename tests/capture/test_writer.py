"""Each frame reaches the store once under a key of its own: clock jumps, lost answers and a store that is away included."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap import frames
from framecap.capture import writer as writer_module
from framecap.capture.captured import CapturedFrame
from framecap.capture.overflow import FrameQueue
from framecap.capture.stats import CameraSummary, CaptureStats
from framecap.capture.writer import FrameWriter
from framecap.errors import FrameUnreadable, KeyRefused, StoreError, StoreUnavailable
from framecap.frames import FrameName
from tests.capture.memory_store import MemoryStore, away

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", (0.01, 0.02))


def write(
    store: MemoryStore,
    captured: list[tuple[datetime, bytes]],
    live: bool = True,
    reported: list[str] | None = None,
    halt: threading.Event | None = None,
) -> CameraSummary:
    """One run: frames numbered from 0, as a camera's supervisor does."""
    numbers = itertools.count()
    stats = CaptureStats("cam", "source")
    queue = FrameQueue(1000, "wait", stats.drop)
    for at, data in captured:
        queue.put(CapturedFrame(FrameName("cam", at, next(numbers)), data, live))
    queue.close()
    on_frame = None if reported is None else reported.append
    FrameWriter(queue, store, stats, halt or threading.Event(), threading.Event(), on_frame).run()  # type: ignore[arg-type]
    return stats.summary()


clocks = st.lists(st.sampled_from([0, 0, 1, 1000, 40_000, -3600_000_000, 3600_000_000]), min_size=1, max_size=40)


@pytest.mark.faults(26)
@given(st.lists(clocks, min_size=1, max_size=4))
def test_no_live_frame_is_lost_or_overwritten_whatever_the_clock_does(runs: list[list[int]]) -> None:
    """The clock (microseconds) steps on, stands still or jumps by an hour; each run begins at the same time again."""
    store = MemoryStore()
    sent = []
    for run, steps in enumerate(runs):
        times = itertools.accumulate(steps, initial=0)
        captured = [(NOON + timedelta(microseconds=at), f"{run} {number}".encode()) for number, at in enumerate(times)]
        summary = write(store, captured)
        sent += [data for _, data in captured]
        assert summary.captured == len(captured)
    assert sorted(store.frames.values()) == sorted(sent)
    assert all(frames.parse_key(key) for key in store.frames)


def test_a_live_frame_takes_the_next_number_when_its_key_is_taken() -> None:
    store = MemoryStore()
    write(store, [(NOON, b"before")])
    reported: list[str] = []
    write(store, [(NOON, b"after")], reported=reported)
    names = [frames.parse_key(key) for key in store.frames]
    assert [name and name.sequence for name in names] == [0, 1]
    assert reported == [list(store.frames)[1]]


def test_a_recorded_frame_that_is_there_is_left_there() -> None:
    store = MemoryStore()
    assert write(store, [(NOON, b"before")], live=False).captured == 1
    reported: list[str] = []
    summary = write(store, [(NOON, b"before")], live=False, reported=reported)
    assert (summary.captured, summary.already_there, summary.lost, reported) == (0, 1, 0, [])


def test_another_recording_of_the_same_name_and_time_is_not_ignored_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    write(store, [(NOON, b"before")], live=False)
    summary = write(store, [(NOON, b"after")], live=False)
    assert (summary.captured, summary.already_there, summary.dropped, summary.lost) == (0, 0, {"key_taken": 1}, 1)
    assert list(store.frames.values()) == [b"before"]
    assert "holds another image" in caplog.text
    assert "--camera" in caplog.text


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("error", [StoreUnavailable("access denied"), FrameUnreadable("no right")])
def test_who_may_put_frames_and_not_read_them_is_not_held_up(
    live: bool, error: StoreError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    write(store, [(NOON, b"before")], live=live)

    tries = []

    def refuse(key: str, limit: int) -> bytes:
        tries.append(key)
        raise error

    monkeypatch.setattr(store, "read", refuse)
    summary = write(store, [(NOON, b"before"), (NOON, b"after")], live=live)
    assert (summary.captured, summary.already_there) == ((2, 0) if live else (1, 1))
    assert store.in_order() == [b"before", b"after"]
    assert caplog.text.count("does not let us read it") == 1
    for _ in range(2):
        tries.clear()
        write(store, [(NOON, b"a recording")] * 12, live=live)
    assert 12 <= len(tries) <= 12 + 2, "once it is known, each frame is asked for once"


def test_a_store_that_is_away_is_waited_for_and_no_frame_is_lost() -> None:
    store = MemoryStore()
    store.before_put = away(5)
    summary = write(store, [(NOON, b"one"), (NOON, b"two")])
    assert (summary.captured, dict(summary.dropped)) == (2, {})
    assert store.in_order() == [b"one", b"two"]


def test_a_put_whose_answer_was_lost_is_one_frame() -> None:
    store = MemoryStore()
    store.after_put = away(1)
    summary = write(store, [(NOON, b"one")])
    assert (summary.captured, store.in_order()) == (1, [b"one"])


def test_reported_to_stop_a_store_that_stays_away_costs_the_frames_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GRACE_SECONDS", 0.1)
    store, halt = MemoryStore(), threading.Event()
    store.before_put = away(1_000_000)
    halt.set()
    summary = write(store, [(NOON, b"one"), (NOON, b"two")], halt=halt)
    assert (summary.captured, dict(summary.dropped)) == (0, {"store_unavailable": 2})


def test_reported_to_stop_a_store_that_comes_back_within_the_grace_time_gets_them() -> None:
    store, halt = MemoryStore(), threading.Event()
    store.before_put = away(3)
    halt.set()
    assert write(store, [(NOON, b"one"), (NOON, b"two")], halt=halt).captured == 2


@pytest.mark.parametrize("error", [KeyRefused("no"), ZeroDivisionError("a defect")])
def test_a_frame_that_the_store_refuses_costs_only_itself(error: Exception) -> None:
    store = MemoryStore()

    def refuse_first(key: str) -> None:
        if key.endswith("-00000000.jpg"):
            raise error

    store.before_put = refuse_first
    summary = write(store, [(NOON, b"one"), (NOON, b"two")])
    assert (summary.captured, dict(summary.dropped)) == (1, {"store_refused": 1})


def test_a_listener_that_raises_does_not_stop_the_writer() -> None:
    store = MemoryStore()
    stats = CaptureStats("cam", "source")
    queue = FrameQueue(10, "wait", stats.drop)
    for number in range(2):
        queue.put(CapturedFrame(FrameName("cam", NOON, number), b"x%d" % number, live=True))
    queue.close()

    def fail(key: str) -> None:
        raise RuntimeError(key)

    FrameWriter(queue, store, stats, threading.Event(), threading.Event(), fail).run()  # type: ignore[arg-type]
    assert stats.summary().captured == 2
