"""The hand: what is in it, what is ahead, and that each job leaves it once; and the room that images take."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from framecap.worker.jobs import ByteBudget, InFlight
from tests.worker.test_batches import jobs


def test_a_job_leaves_the_hand_once_whoever_asks() -> None:
    in_flight = InFlight()
    (job,) = jobs(1)
    in_flight.take(job)
    reported: list[bool] = []
    threads = [threading.Thread(target=lambda: reported.append(in_flight.end(job))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reported) == [False] * 7 + [True]
    assert in_flight.jobs == ()


def test_what_left_is_not_ahead_any_more() -> None:
    in_flight = InFlight()
    first, second = jobs(2)
    in_flight.take(first)
    in_flight.take(second)
    in_flight.reached_captioner(first)
    assert in_flight.ahead == 1
    in_flight.end(second)
    assert in_flight.ahead == 0


def test_a_smaller_hand_is_waited_for() -> None:
    in_flight = InFlight()
    (job,) = jobs(1)
    in_flight.take(job)
    assert not in_flight.wait_for_less_than(1, 0.01)
    later = threading.Timer(0.05, in_flight.end, (job,))
    later.start()
    began = time.monotonic()
    assert in_flight.wait_for_less_than(1, 10)
    assert time.monotonic() - began < 5
    later.join()


def test_no_more_space_is_given_than_there_is_but_always_for_one() -> None:
    byte_budget = ByteBudget(100)
    now = most = 0
    lock = threading.Lock()

    def use(size: int) -> None:
        nonlocal now, most
        byte_budget.take(size)
        with lock:
            now += size
            most = max(most, now)
        time.sleep(0.001)
        with lock:
            now -= size
        byte_budget.give_back(size)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [40, 60, 100, 30, 30, 30, 30, 90, 10, 0, 1] * 5))
        assert most <= 100
        list(threads.map(use, [1, 500, 1]))
    assert most == 500


def test_at_the_end_no_one_waits_for_space() -> None:
    byte_budget = ByteBudget(1)
    byte_budget.take(1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(byte_budget.take, 1)
        byte_budget.end()
        waiting.result(timeout=10)
