"""A fleet's settings and a seed in; where every frame is, second by second, out.

Cameras put frames into a bucket, S3 puts a message for each on a queue, and workers that KEDA starts and stops take them.
Frames of one second that went the same way are one entry with a count, so that a day of 10,000 cameras takes seconds. Ages
count from a frame's capture. What is skipped: duplicate messages (a worker finds the sidecar and deletes them),
near-duplicates (off on a queue), and the tenths of a second that S3, SQS and a worker's batch take.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from benchmarks.measured import WORKER_RATE

DAY = 86_400
POLL_SECONDS = 15  # of the autoscaler
CLOUDWATCH_SECONDS = 180  # how old the last minute is of which CloudWatch tells the messages sent
TOLERANCE = 0.1  # Kubernetes' autoscaler leaves smaller differences alone


@dataclass(frozen=True, slots=True)
class Settings:
    """A fleet. Rates are per second, times in seconds, probabilities per frame unless they say otherwise."""

    cameras: int = 10_000
    fps: float = 1.0
    night: float = 0.3  # part of the day's frames that come at night
    hours: float = 24.0

    worker_rate: float = WORKER_RATE
    in_flight: int = 64  # worker.queue
    visibility: int = 60  # ingest.visibility_seconds
    max_receives: int = 10  # of the queue's redrive policy
    crash: float = 1 / DAY  # per worker and second: each dies once a day
    reclaim: tuple[float, float] = (15 * 3600, 0.3)  # a spot market takes this part of the workers at this time
    outage: tuple[float, float] = (10 * 3600, 600)  # the store is away from, for
    spool_speed: float = 3.0  # capture empties its spool at so many times the cameras' rate

    lost: float = 1e-6  # frames whose event never comes
    unreadable: float = 1e-7  # messages that no worker can end
    reconcile_every: int = 3600
    reconcile_older: int = 900

    messages_per_worker: int = 2000  # the chart's scaling.messagesPerWorker
    planned_rate: float = 60.0  # its scaling.framesPerSecond; 0: the queue's length alone decides
    workers: tuple[int, int] = (0, 170)  # the chart's scaling.min and max
    start: int = 90  # from the decision to a warm model: a node, the image, the model
    settle: int = 300  # the autoscaler takes workers away when it has wanted fewer for so long,
    down: float = 0.1  # and at most this part of them a minute


@dataclass(slots=True)
class Batch:
    """So many frames, captured in the same second and received so many times."""

    captured: int
    count: int
    received: int = 0
    readable: bool = True


class Line:
    """Batches in their order; their frames are counted."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self.count = 0

    def add(self, batch: Batch) -> None:
        if batch.count:
            self._batches.append(batch)
            self.count += batch.count

    def take(self, count: int) -> list[Batch]:
        """The first `count` frames, or all there are."""
        taken = []
        while count > 0 and self._batches:
            first = self._batches[0]
            if first.count <= count:
                taken.append(self._batches.popleft())
            else:
                first.count -= count
                taken.append(Batch(first.captured, count, first.received, first.readable))
            count -= taken[-1].count
            self.count -= taken[-1].count
        return taken

    def take_part(self, part: float, generator: np.random.Generator) -> list[Batch]:
        """Each frame with the probability `part`: what some of many equal workers held."""
        batches = self.take(self.count)
        gone = [Batch(one.captured, int(generator.binomial(one.count, part)), one.received, one.readable) for one in batches]
        for one, without in zip(batches, gone, strict=True):
            one.count -= without.count
            self.add(one)
        return [one for one in gone if one.count]

    def oldest(self) -> int | None:
        return min((batch.captured for batch in self._batches if batch.readable), default=None)


@dataclass(slots=True)
class Counts:
    """Where all frames are, and how many workers there are."""

    second: int
    arrived: int = 0
    done: int = 0
    poison: int = 0
    dead: int = 0
    spooled: int = 0
    queued: int = 0
    in_flight: int = 0
    invisible: int = 0
    unannounced: int = 0
    workers: int = 0
    age: int = 0  # of the oldest frame that some worker is to caption; what reconcile must find first is not among them

    def conserved(self) -> bool:
        """No frame is lost, none is made: the law of the whole."""
        ended = self.done + self.poison + self.dead
        return self.arrived == ended + self.spooled + self.queued + self.in_flight + self.invisible + self.unannounced


@dataclass(slots=True)
class Fleet:
    """The simulation's state; `step` is one second."""

    settings: Settings
    generator: np.random.Generator
    now: int = 0
    spool: Line = field(default_factory=Line)
    queue: Line = field(default_factory=Line)
    leased_frames: Line = field(default_factory=Line)
    unannounced: Line = field(default_factory=Line)
    invisible: list[tuple[int, int, Batch]] = field(default_factory=list)  # a heap: visible again, number, batch
    starting: list[int] = field(default_factory=list)  # a heap: when each worker is ready
    wanted: deque[tuple[int, int]] = field(default_factory=deque)  # (second, workers) of the last `settle` seconds
    sent: deque[int] = field(default_factory=deque)  # messages of each of the last CLOUDWATCH_SECONDS
    workers: int = 0
    arrived: int = 0
    poison: int = 0
    dead: int = 0
    worker_seconds: int = 0
    delays: dict[int, int] = field(default_factory=dict)  # seconds from capture to sidecar: frames
    _number: int = 0

    def step(self) -> None:
        self._cameras()
        self._events()
        self._crashes()
        if not self._away():
            self._work()
        if self.now % POLL_SECONDS == 0:
            self._scale()
        while self.starting and self.starting[0] <= self.now:
            heapq.heappop(self.starting)
            self.workers += 1
        self.worker_seconds += self.workers
        self.now += 1

    def counts(self) -> Counts:
        invisible = [batch for _, _, batch in self.invisible]
        oldest = [line.oldest() for line in (self.spool, self.queue, self.leased_frames)]
        oldest += [batch.captured for batch in invisible if batch.readable]
        return Counts(
            second=self.now,
            arrived=self.arrived,
            done=sum(self.delays.values()),
            poison=self.poison,
            dead=self.dead,
            spooled=self.spool.count,
            queued=self.queue.count,
            in_flight=self.leased_frames.count,
            invisible=sum(batch.count for batch in invisible),
            unannounced=self.unannounced.count,
            workers=self.workers,
            age=self.now - min((one for one in oldest if one is not None), default=self.now),
        )

    # Frames on their way to the queue

    def rate(self) -> float:
        """Frames a second: nothing but `night` of them at midnight, all of them at noon."""
        settings = self.settings
        daylight = (1 - math.cos(2 * math.pi * self.now / DAY)) / 2
        return settings.cameras * settings.fps * (settings.night + (1 - settings.night) * daylight)

    def _away(self) -> bool:
        begin, seconds = self.settings.outage
        return begin <= self.now < begin + seconds

    def _cameras(self) -> None:
        captured = int(self.generator.poisson(self.rate()))
        self.arrived += captured
        self.spool.add(Batch(self.now, captured))
        most = 0 if self._away() else math.ceil(self.settings.spool_speed * max(self.rate(), captured))
        stored = self.spool.take(most)
        for batch in stored:
            self._announce(batch)
        self.sent.append(sum(batch.count for batch in stored))
        if len(self.sent) > CLOUDWATCH_SECONDS:
            self.sent.popleft()

    def _announce(self, batch: Batch) -> None:
        lost, unreadable, good = self._split(batch.count)
        self.unannounced.add(Batch(batch.captured, lost))
        self.queue.add(Batch(batch.captured, unreadable, readable=False))
        self.queue.add(Batch(batch.captured, good))

    def _split(self, count: int) -> tuple[int, int, int]:
        settings = self.settings
        lost, unreadable, good = self.generator.multinomial(
            count, [settings.lost, settings.unreadable, 1 - settings.lost - settings.unreadable]
        )
        return int(lost), int(unreadable), int(good)

    def _events(self) -> None:
        """Messages become visible again, and reconcile finds frames without one."""
        while self.invisible and self.invisible[0][0] <= self.now:
            self.queue.add(heapq.heappop(self.invisible)[2])
        if self.now % self.settings.reconcile_every == 0 and not self._away():
            for batch in self.unannounced.take(self.unannounced.count):
                old = batch.captured <= self.now - self.settings.reconcile_older
                (self.queue if old else self.unannounced).add(batch)

    # Workers

    def _crashes(self) -> None:
        when, part = self.settings.reclaim
        died = int(self.generator.binomial(self.workers, self.settings.crash))
        if self.now == int(when):
            died = max(died, round(part * self.workers))
        if died:
            longest = self.settings.visibility  # after the last heartbeat, which was a third of it ago at most
            for batch in self.leased_frames.take_part(died / self.workers, self.generator):
                self._hide(batch, int(self.generator.integers(longest * 2 // 3, longest + 1)))
            self.workers -= died
            for _ in range(died):  # Kubernetes starts another in its place
                heapq.heappush(self.starting, self.now + self.settings.start)

    def _hide(self, batch: Batch, seconds: int) -> None:
        self._number += 1
        heapq.heappush(self.invisible, (self.now + seconds, self._number, batch))

    def _receive(self) -> None:
        for batch in self.queue.take(self.workers * self.settings.in_flight - self.leased_frames.count):
            batch.received += 1
            if batch.received > self.settings.max_receives:
                self.dead += batch.count
            elif not batch.readable:
                self._hide(batch, self.settings.visibility)
            elif batch.received >= max(self.settings.max_receives - 1, 2):
                self.poison += batch.count  # its sidecar says failed, while a message is still to be had
            else:
                self.leased_frames.add(batch)

    def _work(self) -> None:
        """A second's work; what is in flight is replaced as it is done, more than once in a second."""
        mean = self.workers * self.settings.worker_rate
        capacity = int(max(0.0, self.generator.normal(mean, 0.05 * mean)))
        self._receive()
        while capacity > 0 and self.leased_frames.count:
            for batch in self.leased_frames.take(capacity):
                capacity -= batch.count
                delay = self.now - batch.captured
                self.delays[delay] = self.delays.get(delay, 0) + batch.count
            self._receive()

    # The autoscaler

    def _needed(self) -> float:
        """Workers, by the messages that wait or are in flight and by the messages that come; the larger number counts."""
        messages = self.queue.count + self.leased_frames.count + sum(batch.count for _, _, batch in self.invisible)
        by_queue = messages / self.settings.messages_per_worker
        if not self.settings.planned_rate:
            return by_queue
        return max(by_queue, sum(islice(self.sent, 60)) / 60 / self.settings.planned_rate)

    def _scale(self) -> None:
        there = self.workers + len(self.starting)
        needed = self._needed()
        want = there if there and abs(needed / there - 1) <= TOLERANCE else math.ceil(needed)
        if want > there:  # Kubernetes' default: four more, or twice as many, whichever is more
            want = min(want, max(there + 4, there * 2))
        low, high = self.settings.workers
        want = min(max(want, low), high)
        self.wanted.append((self.now, want))
        while self.wanted[0][0] <= self.now - self.settings.settle:
            self.wanted.popleft()
        if want < there:
            kept = math.floor(there * (1 - self.settings.down * POLL_SECONDS / 60))
            want = max(kept, *(one for _, one in self.wanted))
        for _ in range(want - there):
            heapq.heappush(self.starting, self.now + self.settings.start)
        self._stop(there - want)

    def _stop(self, count: int) -> None:
        """The youngest go first; a worker that drains gives what it has not begun back at once."""
        while count > 0 and self.starting:
            self.starting.remove(max(self.starting))
            heapq.heapify(self.starting)
            count -= 1
        count = min(count, self.workers)
        if count > 0:
            for batch in self.leased_frames.take_part(count / self.workers, self.generator):
                self.queue.add(batch)
            self.workers -= count


def simulate(settings: Settings, seed: int) -> tuple[Fleet, list[Counts]]:
    """The fleet at its end, and its counts once a minute; the same seed gives the same day."""
    fleet = Fleet(settings, np.random.default_rng(seed))
    minutes = []
    for second in range(int(settings.hours * 3600)):
        fleet.step()
        if second % 60 == 59:
            minutes.append(fleet.counts())
    return fleet, minutes
