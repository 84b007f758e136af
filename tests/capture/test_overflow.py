"""The queue keeps order and loses only what its policy says, and counts every lost frame; with a spool, too."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.capture import overflow, spool_file
from framecap.capture.captured import CapturedFrame
from framecap.capture.overflow import FrameQueue, Policy
from framecap.capture.spool import Spool
from tests.capture.numbered import drain, frame, number_of


class Losses(Counter[str]):
    """What a queue says it has dropped, by reason."""

    def __call__(self, reason: str, count: int) -> None:
        self[reason] += count


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_oldest", [2, 3, 4]), ("drop_newest", [0, 1, 2])],
)
def test_what_is_dropped(policy: Policy, kept: list[int]) -> None:
    losses = Losses()
    queue = FrameQueue(3, policy, losses)
    for number in range(5):
        queue.put(frame(number))
    assert losses == {policy: 2}
    assert drain(queue) == kept


@given(st.sampled_from(["drop_oldest", "drop_newest"]), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_every_frame_is_got_once_or_counted(policy: Policy, capacity: int, puts: list[bool]) -> None:
    losses = Losses()
    queue = FrameQueue(capacity, policy, losses)
    seen, count = [], 0
    for put in puts:
        if put:
            queue.put(frame(count))
            count += 1
        elif len(queue):
            captured = queue.get()
            assert captured is not None
            seen.append(number_of(captured))
            queue.done()
        assert len(queue) <= capacity
    seen += drain(queue)
    assert seen == sorted(set(seen))
    assert len(seen) + losses[policy] == count


def _put_in_thread(queue: FrameQueue, numbers: range) -> threading.Thread:
    thread = threading.Thread(target=lambda: [queue.put(frame(number)) for number in numbers], daemon=True)
    thread.start()
    return thread


def test_wait_blocks_the_producer_and_loses_nothing() -> None:
    losses = Losses()
    queue = FrameQueue(2, "wait", losses)
    producer = _put_in_thread(queue, range(50))
    got = []
    for _ in range(50):
        assert len(queue) <= 2
        captured = queue.get()
        assert captured is not None
        got.append(number_of(captured))
        queue.done()
    producer.join(10)
    assert (got, losses) == (list(range(50)), {})


def test_release_lets_a_waiting_producer_go_on() -> None:
    queue = FrameQueue(1, "wait", Losses())
    producer = _put_in_thread(queue, range(3))
    producer.join(0.2)
    assert producer.is_alive()
    queue.release()
    producer.join(10)
    assert not producer.is_alive()
    assert drain(queue) == [0, 1, 2]


def test_close_ends_a_waiting_consumer() -> None:
    queue = FrameQueue(1, "wait", Losses())
    threading.Timer(0.1, queue.close).start()
    begin = time.monotonic()
    assert queue.get() is None
    assert time.monotonic() - begin < 10


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path, 1_000_000, drops_oldest=False) as spool:
        yield spool


def on_disk(spool: Spool) -> int:
    return len(list(spool.root.rglob("*.frame")))


def test_while_the_store_answers_nothing_is_written_to_the_disk(spool: Spool) -> None:
    queue = FrameQueue(3, "wait", Losses(), spool.camera("cam", Losses()))
    for number in range(3):
        queue.put(frame(number))
    assert on_disk(spool) == 0
    assert drain(queue) == [0, 1, 2]


def test_when_the_store_is_away_all_is_on_disk_the_frame_in_hand_too(spool: Spool) -> None:
    queue = FrameQueue(3, "wait", Losses(), spool.camera("cam", Losses()))
    for number in range(3):
        queue.put(frame(number))
    assert queue.get() is not None
    queue.store_is_away()
    assert on_disk(spool) == 3
    for number in range(3, 10):
        queue.put(frame(number))
    assert on_disk(spool) == 10
    queue.put_back()
    assert drain(queue) == list(range(10))
    assert on_disk(spool) == 0


def test_a_shortage_of_this_machine_damages_no_frame_and_keeps_the_order(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    losses = Losses()
    queue = FrameQueue(3, "wait", losses, spool.camera("cam", losses))
    queue.store_is_away()
    for number in range(4):
        queue.put(frame(number))
    read, tries = spool_file.read, []

    def short(*arguments: Any) -> CapturedFrame:
        tries.append(arguments)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(*arguments)

    monkeypatch.setattr(spool_file, "read", short)
    first = queue.get()
    assert first is not None
    assert number_of(first) == 0
    queue.done()
    assert drain(queue) == [1, 2, 3]
    assert losses == {}
    assert caplog.text.count("the spool cannot be read for now: Too many open files") == 1


def test_what_cannot_be_read_at_the_end_stays_in_the_spool(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = Losses()
    queue = FrameQueue(3, "wait", losses, spool.camera("cam", losses))
    queue.store_is_away()
    queue.put(frame(0))

    def short(*arguments: Any) -> CapturedFrame:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    monkeypatch.setattr(spool_file, "read", short)
    queue.close()
    assert queue.get() is None
    assert queue.leave() == (1, 0)
    assert losses == {}


def test_a_store_that_does_not_answer_is_away(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overflow, "STUCK_SECONDS", -1.0)
    queue = FrameQueue(3, "wait", Losses(), spool.camera("cam", Losses()))
    queue.put(frame(0))
    assert queue.get() is not None
    queue.put(frame(1))
    assert on_disk(spool) == 2


def test_live_frames_that_do_not_fit_into_memory_go_to_disk_and_a_recording_waits(spool: Spool) -> None:
    queue = FrameQueue(2, "wait", Losses(), spool.camera("cam", Losses()))
    for number in range(3):
        queue.put(frame(number))
    assert on_disk(spool) == 3
    recorded = FrameQueue(1, "wait", Losses(), spool.camera("file", Losses()))
    recorded.put(frame(0, "file", live=False))
    blocked = threading.Thread(target=recorded.put, args=[frame(1, "file", live=False)], daemon=True)
    blocked.start()
    blocked.join(0.1)
    assert blocked.is_alive()
    assert (recorded.get(), on_disk(spool)) == (frame(0, "file", live=False), 3)
    blocked.join(10)
    recorded.store_is_away()  # now it does not wait
    assert on_disk(spool) == 5


def test_what_is_left_at_the_end_is_counted(spool: Spool) -> None:
    queue = FrameQueue(3, "wait", Losses(), spool.camera("cam", Losses()))
    for number in range(3):
        queue.put(frame(number))
    queue.get()
    assert queue.leave() == (3, 0)
    plain = FrameQueue(3, "wait", Losses())
    plain.put(frame(0))
    assert plain.leave() == (0, 1)


steps = st.lists(st.sampled_from(["put", "put", "store", "away", "give up"]), max_size=80)


@given(st.sampled_from(["drop_oldest", "drop_newest"]), st.integers(1, 4), st.integers(1, 8), steps)
def test_whatever_the_store_does_frames_come_in_order_and_each_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, policy: Policy, capacity: int, spool_frames: int, script: list[str]
) -> None:
    losses, count, stored = Losses(), 0, []
    with Spool(tmp_path_factory.mktemp("spool"), spool_frames * 1200, drops_oldest=policy == "drop_oldest") as spool:
        queue = FrameQueue(capacity, policy, losses, spool.camera("cam", losses))
        in_flight = None
        for step in script:
            if step == "put":
                queue.put(frame(count, size=count * 397 % 1000))
                count += 1
            elif in_flight is None and count > len(stored) + losses[policy]:
                in_flight = queue.get()
            elif in_flight is not None and step == "away":
                queue.store_is_away()
            elif in_flight is not None and step == "give up":
                queue.put_back()
                in_flight = None
            elif in_flight is not None:
                stored.append(number_of(in_flight))
                queue.done()
                in_flight = None
            assert len(queue) <= capacity + 1
            assert sum(path.stat().st_size for path in spool.root.rglob("*.frame")) <= spool.max_bytes
        if in_flight is not None:
            queue.put_back()
        stored += drain(queue)
        assert on_disk(spool) == 0
    assert stored == sorted(set(stored))
    assert len(stored) + losses[policy] == count
