"""The hand: what is in it, what is ahead, and that each job leaves it once; and the room that pictures take."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from framecap.worker.jobs import Hand, Room
from tests.worker.test_batches import jobs


def test_a_job_leaves_the_hand_once_whoever_asks() -> None:
    hand = Hand()
    (job,) = jobs(1)
    hand.take(job)
    told: list[bool] = []
    threads = [threading.Thread(target=lambda: told.append(hand.end(job))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 7 + [True]
    assert hand.jobs == ()


def test_what_left_is_not_ahead_any_more() -> None:
    hand = Hand()
    first, second = jobs(2)
    hand.take(first)
    hand.take(second)
    hand.reached_captioner(first)
    assert hand.ahead == 1
    hand.end(second)
    assert hand.ahead == 0


def test_a_smaller_hand_is_waited_for() -> None:
    hand = Hand()
    (job,) = jobs(1)
    hand.take(job)
    assert not hand.wait_for_less_than(1, 0.01)
    later = threading.Timer(0.05, hand.end, (job,))
    later.start()
    began = time.monotonic()
    assert hand.wait_for_less_than(1, 10)
    assert time.monotonic() - began < 5
    later.join()


def test_no_more_room_is_given_than_there_is_but_always_for_one() -> None:
    room = Room(100)
    now = most = 0
    lock = threading.Lock()

    def use(size: int) -> None:
        nonlocal now, most
        room.take(size)
        with lock:
            now += size
            most = max(most, now)
        time.sleep(0.001)
        with lock:
            now -= size
        room.give_back(size)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [40, 60, 100, 30, 30, 30, 30, 90, 10, 0, 1] * 5))
        assert most <= 100
        list(threads.map(use, [1, 500, 1]))
    assert most == 500


def test_at_the_end_nobody_waits_for_room() -> None:
    room = Room(1)
    room.take(1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(room.take, 1)
        room.end()
        waiting.result(timeout=10)
