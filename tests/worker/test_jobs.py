"""The hand: what is in it, what is ahead, and that each job leaves it once."""

from __future__ import annotations

import threading
import time

from framecap.worker.jobs import Hand
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


def test_room_is_waited_for() -> None:
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
