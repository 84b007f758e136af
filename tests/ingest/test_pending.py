"""The pending set: what is observed is given out once at a time, fairly, and nothing is lost."""

from __future__ import annotations

import threading
import time
from itertools import groupby

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from framecap.frames import camera_of
from framecap.ingest.pending import Pending
from framecap.stores.base import Entry

SETTLE, CONFIRM = 10.0, 1.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def entry(key: str, etag: str = "1", size: int = 5) -> Entry:
    return Entry(key, size, 0.0, etag)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pending(clock: Clock) -> Pending:
    return Pending(SETTLE, CONFIRM, clock)


def taken(pending: Pending) -> list[str]:
    keys = []
    while (item := pending.take(0)) is not None:
        keys.append(item.entry.key)
    return keys


def test_cameras_take_turns_and_keys_are_in_order_within_one(pending: Pending) -> None:
    backlog = [f"busy/{number:06}.jpg" for number in range(1000)]
    for key in reversed(backlog):
        pending.observe(entry(key), sure=True)
    for key in ("calm/2.jpg", "calm/1.jpg", "alone.jpg"):
        pending.observe(entry(key), sure=True)
    order = taken(pending)
    assert set(order[:6]) >= {"calm/1.jpg", "calm/2.jpg", "alone.jpg"}
    for camera, keys in groupby(sorted(order, key=camera_of), key=camera_of):
        mine = list(keys)
        assert mine == sorted(mine), camera
    assert len(order) == 1003


def test_a_sure_frame_is_ready_at_once_and_others_when_two_looks_agree(pending: Pending, clock: Clock) -> None:
    pending.observe(entry("a.jpg"), sure=True)
    pending.observe(entry("b.jpg"), sure=False)
    assert taken(pending) == ["a.jpg"]
    clock.now += 0.1
    pending.observe(entry("b.jpg"), sure=False)
    assert taken(pending) == [], "two looks right after each other say nothing"
    clock.now += 2
    pending.observe(entry("b.jpg", "2"), sure=False)
    assert taken(pending) == [], "it is still being written"
    clock.now += 2
    pending.observe(entry("b.jpg", "2"), sure=False)
    assert taken(pending) == ["b.jpg"]


def test_a_frame_that_no_one_looks_at_again_is_ready_when_it_has_settled(pending: Pending, clock: Clock) -> None:
    pending.observe(entry("a.jpg"), sure=False)
    clock.now += SETTLE - 0.1
    assert taken(pending) == []
    clock.now += 0.1
    assert taken(pending) == ["a.jpg"]


def test_an_empty_frame_waits_until_it_has_settled_or_has_content(pending: Pending, clock: Clock) -> None:
    for key in ("a.jpg", "b.jpg"):
        pending.observe(entry(key, size=0), sure=True)
    clock.now += 5
    pending.observe(entry("a.jpg", size=0), sure=False)
    pending.observe(entry("b.jpg", "2"), sure=True)
    assert taken(pending) == ["b.jpg"]
    clock.now += 5
    assert taken(pending) == ["a.jpg"]
    assert pending.settles_in("a.jpg") == 0.0


def test_a_truncated_frame_is_tried_again_when_it_changes_or_has_settled(pending: Pending, clock: Clock) -> None:
    pending.observe(entry("a.jpg"), sure=True)
    assert taken(pending) == ["a.jpg"]
    assert pending.settles_in("a.jpg") == SETTLE
    pending.release("a.jpg", delay=SETTLE, counts=False)
    for _ in range(4):
        clock.now += 2
        pending.observe(entry("a.jpg"), sure=False)
        assert taken(pending) == [], "the same bytes are not tried again before they have settled"
    pending.observe(entry("a.jpg", "2"), sure=True)  # its writer closed it
    item = pending.take(0)
    assert item is not None
    assert (item.entry.etag, item.attempts) == ("2", 0)
    pending.release("a.jpg", delay=pending.settles_in("a.jpg"), counts=False)
    clock.now += SETTLE
    assert taken(pending) == ["a.jpg"]
    assert pending.settles_in("a.jpg") == 0.0


def test_attempts_count_unless_reported_otherwise_and_start_anew_with_new_content(pending: Pending) -> None:
    pending.observe(entry("a.jpg"), sure=True)
    seen = []
    for counts in (True, False, True):
        item = pending.take(0)
        assert item is not None
        seen.append(item.attempts)
        pending.release("a.jpg", 0, counts)
    assert seen == [0, 1, 1]
    assert pending.take(0) is not None
    pending.observe(entry("a.jpg", "2"), sure=True)
    pending.release("a.jpg", 0, counts=True)
    item = pending.take(0)
    assert item is not None
    assert item.attempts == 0


def test_a_frame_replaced_in_hand_is_to_be_looked_at_again(pending: Pending) -> None:
    for key in ("a.jpg", "b.jpg"):
        pending.observe(entry(key), sure=True)
    assert len(taken(pending)) == 2
    pending.observe(entry("a.jpg", "2"), sure=True)
    assert pending.done("a.jpg", "1") is True
    assert pending.done("b.jpg", "1") is False


def test_a_listing_older_than_the_commit_brings_nothing_back(pending: Pending) -> None:
    pending.begin_scan()
    pending.observe(entry("a.jpg"), sure=True, listed=True)
    assert taken(pending) == ["a.jpg"]
    pending.done("a.jpg", "1")
    assert pending.observe(entry("a.jpg"), sure=True, listed=True) is False
    assert taken(pending) == []
    assert pending.observe(entry("a.jpg", "2"), sure=True, listed=True) is True
    assert taken(pending) == ["a.jpg"]
    pending.done("a.jpg", "2")
    pending.begin_scan()
    assert pending.observe(entry("a.jpg", "2"), sure=True, listed=True) is True, (
        "the sidecar was deleted: it is pending again"
    )


def test_waiting_ends_at_once_when_a_frame_comes_or_all_is_closed() -> None:
    pending = Pending(SETTLE, CONFIRM)
    waits: list[float] = []

    def take() -> None:
        began = time.monotonic()
        pending.take(30)
        waits.append(time.monotonic() - began)

    for end in (lambda: pending.observe(entry("a.jpg"), sure=True), pending.close):
        thread = threading.Thread(target=take)
        thread.start()
        end()
        thread.join(10)
    assert len(waits) == 2
    assert max(waits) < 5


def test_a_waiting_taker_gets_what_was_given_back_when_its_time_has_come() -> None:
    pending = Pending(SETTLE, CONFIRM)
    pending.observe(entry("a.jpg"), sure=True)
    assert pending.take(0) is not None
    pending.release("a.jpg", 0.05, counts=True)
    assert pending.take(0) is None
    item = pending.take(10)
    assert item is not None
    assert item.attempts == 1


class Model(RuleBasedStateMachine):
    """Whatever happens in whatever order: one hand a frame, nothing lost, nothing out of nothing."""

    KEYS = st.sampled_from(["a/1.jpg", "a/2.jpg", "b/1.jpg", "c.jpg"])

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.pending = Pending(SETTLE, CONFIRM, self.clock)
        self.known: dict[str, str] = {}  # key → etag as last observed
        self.in_flight: dict[str, str] = {}  # key → etag as leased
        self.version = 0

    @rule(key=KEYS, sure=st.booleans(), size=st.sampled_from([0, 5]), changed=st.booleans())
    def observe(self, key: str, sure: bool, size: int, changed: bool) -> None:
        if changed or key not in self.known:
            self.version += 1
        etag = f"{self.version}-{size}" if changed or key not in self.known else self.known[key]
        size = int(etag.partition("-")[2])
        was_unknown = key not in self.known
        assert self.pending.observe(entry(key, etag, size), sure) is was_unknown
        self.known[key] = etag

    @rule(seconds=st.sampled_from([0.5, 1.0, SETTLE]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        item = self.pending.take(0)
        if item is not None:
            key = item.entry.key
            assert key not in self.in_flight, "a frame is in one hand at a time"
            assert self.known[key] == item.entry.etag, "what is leased is what was seen last"
            self.in_flight[key] = item.entry.etag

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        leased = self.in_flight.pop(key)
        assert self.pending.done(key, leased) is (self.known.pop(key) != leased)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 3.0]), counts=st.booleans())
    def release(self, data: st.DataObject, delay: float, counts: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        del self.in_flight[key]
        self.pending.release(key, delay, counts)

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.pending.drop(key)
        if key not in self.in_flight:
            self.known.pop(key, None)

    @rule()
    def scan(self) -> None:
        self.pending.begin_scan()

    @invariant()
    def the_counts_are_right(self) -> None:
        backlog = self.pending.backlog()
        assert (backlog.pending, backlog.in_flight) == (len(self.known), len(self.in_flight))
        assert (self.pending.idle_since() is None) is bool(self.known)

    def teardown(self) -> None:
        self.clock.now += SETTLE
        self.in_flight |= dict.fromkeys(taken(self.pending), "")
        assert self.in_flight.keys() == self.known.keys(), "every frame comes into a hand in the end"


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_frame_that_is_replaced_all_the_time_is_tried_within_a_bound() -> None:
    """`latest.jpg` of a camera on a mount: no two scans see the same content (row 38)."""
    now = [0.0]
    pending = Pending(settle_seconds=5.0, confirm_seconds=1.0, clock=lambda: now[0])
    taken = None
    for second in range(16):
        now[0] = float(second)
        pending.observe(Entry("cam/latest.jpg", 10, 1000.0 + second, f"etag-{second}"), sure=False, listed=True)
        assert pending.backlog().oldest == 1000.0, "its age counts from the first sight"
        taken = pending.take(0.0)
        if taken is not None:
            break
    assert taken is not None
    assert now[0] <= 15.0, "settle_seconds x 3"
