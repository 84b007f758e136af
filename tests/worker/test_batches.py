"""Batches: full ones at once, others by the deadline, and no waiting for frames that nobody brings."""

from __future__ import annotations

import threading
import time
from typing import Any

from framecap.stores.base import Entry
from framecap.worker.batches import Batches
from framecap.worker.jobs import InFlight, Job


def jobs(count: int) -> list[Job]:
    lease: Any = None
    return [Job(lease, Entry(f"a/{n}.jpg", 1, 0.0, "")) for n in range(count)]


def put(batches: Batches, in_flight: InFlight, some: list[Job]) -> None:
    for job in some:
        batches.put(job)
        in_flight.reached_captioner(job)


def taken(batches: Batches, limit: int = 8) -> tuple[Job, ...]:
    batch = batches.take(limit)
    assert batch is not None
    return batch.jobs


def test_a_full_batch_goes_at_once_and_the_rest_follows() -> None:
    in_flight = InFlight()
    batches = Batches(60.0, in_flight)
    some = jobs(10)
    for job in some:
        in_flight.take(job)
    put(batches, in_flight, some)
    assert [len(taken(batches, 4)) for _ in range(3)] == [4, 4, 2]


def test_frames_on_their_way_are_waited_for_until_the_deadline() -> None:
    in_flight = InFlight()
    batches = Batches(0.2, in_flight)
    first, second, never = jobs(3)
    for job in (first, second, never):
        in_flight.take(job)
    put(batches, in_flight, [first])
    late = threading.Timer(0.05, put, (batches, in_flight, [second]))
    late.start()
    began = time.monotonic()
    assert taken(batches) == (first, second)
    assert 0.15 < time.monotonic() - began < 5
    late.join()


def test_a_lone_frame_goes_at_once() -> None:
    in_flight = InFlight()
    batches = Batches(60.0, in_flight)
    (job,) = jobs(1)
    in_flight.take(job)
    put(batches, in_flight, [job])
    assert taken(batches) == (job,)


def test_after_the_end_what_was_put_before_still_comes() -> None:
    batches = Batches(60.0, InFlight())
    (job,) = jobs(1)
    batches.put(job)
    batches.end()
    assert taken(batches) == (job,)
    assert batches.take(8) is None
    assert batches.take(8) is None


def test_batches_are_numbered_in_the_order_of_their_frames() -> None:
    """Two lanes take at the same time: the number is drawn with the batch, not afterwards."""
    batches = Batches(0.0, InFlight())
    some = jobs(2000)
    for job in some:
        batches.put(job)
    batches.end()
    numbers: dict[int, tuple[Job, ...]] = {}

    def lane() -> None:
        while (batch := batches.take(1)) is not None:
            numbers[batch.number] = batch.jobs

    lanes = [threading.Thread(target=lane) for _ in range(2)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    assert [job for number in range(len(some)) for job in numbers[number]] == some
