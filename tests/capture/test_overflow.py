"""The queue keeps order and loses only what its policy says, and gives every lost item back."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.capture.overflow import BoundedQueue, Policy


def drain(queue: BoundedQueue[int]) -> list[int]:
    queue.close()
    items = []
    while (item := queue.get()) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize(
    ("policy", "kept", "lost"),
    [("drop_oldest", [2, 3, 4], [0, 1]), ("drop_newest", [0, 1, 2], [3, 4])],
)
def test_what_is_dropped(policy: Policy, kept: list[int], lost: list[int]) -> None:
    queue: BoundedQueue[int] = BoundedQueue(3, policy)
    gone = [queue.put(number) for number in range(5)]
    assert [item for item in gone if item is not None] == lost
    assert drain(queue) == kept


@given(st.sampled_from(["drop_oldest", "drop_newest"]), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_every_item_is_got_once_or_given_back(policy: Policy, capacity: int, puts: list[bool]) -> None:
    queue: BoundedQueue[int] = BoundedQueue(capacity, policy)
    seen, numbers = [], iter(range(1000))
    count = 0
    for put in puts:
        if put:
            gone = queue.put(next(numbers))
            count += 1
            seen += [] if gone is None else [gone]
        elif len(queue):
            item = queue.get()
            assert item is not None
            seen.append(item)
        assert len(queue) <= capacity
    assert sorted(seen + drain(queue)) == list(range(count))


def _put_in_thread(queue: BoundedQueue[int], items: range) -> threading.Thread:
    thread = threading.Thread(target=lambda: [queue.put(item) for item in items], daemon=True)
    thread.start()
    return thread


def test_wait_blocks_the_producer_and_loses_nothing() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, "wait")
    producer = _put_in_thread(queue, range(50))
    got = []
    for _ in range(50):
        assert len(queue) <= 2
        got.append(queue.get())
    producer.join(10)
    assert got == list(range(50))


def test_release_lets_a_waiting_producer_go_on() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, "wait")
    producer = _put_in_thread(queue, range(3))
    producer.join(0.2)
    assert producer.is_alive()
    queue.release()
    producer.join(10)
    assert not producer.is_alive()
    assert drain(queue) == [0, 1, 2]


def test_close_ends_a_waiting_consumer() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, "wait")
    threading.Timer(0.1, queue.close).start()
    begin = time.monotonic()
    assert queue.get() is None
    assert time.monotonic() - begin < 10
