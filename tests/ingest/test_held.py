"""What holds of the messages in a worker's hand, whatever the order in which things happen to them."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from framecap.errors import QueueUnavailable
from framecap.ingest.held import Frame, Held, Message
from framecap.ingest.sqs import BATCH, Received

KEYS = [f"{number}.jpg" for number in range(6)]
AWAY = QueueUnavailable("away")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Queue(RuleBasedStateMachine):
    """A worker's dealings with a queue. `owed` says which frames a message still tells of."""

    @initialize(capacity=st.integers(1, 25))
    def start(self, capacity: int) -> None:
        self.clock = Clock()
        self.capacity = capacity
        self.held = Held(capacity, self.clock)
        self.number = 0
        self.owed: dict[str, set[str]] = {}
        self.in_hand: list[Frame] = []
        self.unopened: list[Message] = []
        self.deleted: Counter[str] = Counter()
        self.stopped = False

    def poll(self) -> bool:
        return not self.stopped and self.held._is_wanted()

    @rule(
        keys=st.lists(st.lists(st.sampled_from(KEYS), unique=True, max_size=3), max_size=BATCH), is_looked_at=st.booleans()
    )
    def receive(self, keys: list[list[str]], is_looked_at: bool) -> None:
        self.take(1)
        if not self.poll():
            return
        most, _ = self.held.want() or (0, True)
        received = []
        for wanted in keys[:most]:
            self.number += 1
            self.owed[str(self.number)] = set(wanted)
            received.append(Received(str(self.number), "receipt", "", 0.0, 1))
        self.unopened += self.held.polled(self.clock(), True, received)
        while is_looked_at and self.unopened:
            self.open()

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        """Our renewal came too late, and the message came back to us."""
        self.take(1)
        if self.poll():
            self.held.want()
            one = data.draw(st.sampled_from(sorted(self.owed)))
            if one in self.held._messages:
                before = self.held._messages[one]
                assert self.held.polled(self.clock(), True, [Received(one, "newest", "", 0.0, 2)]) == []
                assert self.held._messages[one] is before
                assert before.received.receipt == "newest"
            else:
                self.held.polled(self.clock(), True, [])

    @rule()
    def fail(self) -> None:
        if self.poll():
            self.held.want()
            self.held.failed(AWAY)
            assert not self.poll(), "not at once again"

    @precondition(lambda self: self.unopened)
    @rule()
    def open(self) -> None:
        message = self.unopened.pop()
        self.held.open(message, [(key, None) for key in sorted(self.owed[message.received.id])])

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        for _ in range(count):
            frame = self.held.take(0)
            if frame is not None:
                assert not self.stopped
                assert frame.key not in {other.key for other in self.in_hand}
                self.in_hand.append(frame)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        frame = self.in_hand.pop(data.draw(st.integers(0, len(self.in_hand) - 1)))
        for message in frame.messages:
            self.owed[message.received.id].discard(frame.key)
        was_kept = self.held._frames.get(frame.key) is frame
        assert was_kept, "a frame in a hand is known, or it would be in two"
        self.held.done(frame)

    @precondition(lambda self: self.in_hand)
    @rule(delay=st.sampled_from([0.0, 5.0]))
    def release(self, delay: float) -> None:
        self.held.release(self.in_hand.pop(), delay, counts=True)

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.held.ours())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A renewal came too late, and the message is another's. (Not while it is looked at: that ends first.)"""
        ours = [message for message in self.held.ours() if not message.looking]
        if ours:
            lost = data.draw(st.sampled_from(ours))
            self.held.forget([lost])
            self.owed.pop(lost.received.id, None)

    @rule(is_well=st.booleans())
    def tell(self, is_well: bool) -> None:
        self.clock.now += 1
        if not self.held._returned and not self.held._finished:
            return
        told = self.held.to_tell()
        assert told is not None
        if not is_well:
            self.held.again(told)
            return
        for message in told.finished:
            assert not self.owed.get(message.received.id), "deleted though a frame is not done"
            self.deleted[message.received.id] += 1
        for message in told.returned:
            assert self.stopped
            assert not message.in_hand, "given back though a frame of it is in a hand"
        self.held.forget([*told.finished, *told.returned])

    @rule(chance=st.integers(0, 9))
    def stop(self, chance: int = 0) -> None:
        if chance:
            return
        self.held.stop()
        self.stopped = True

    @invariant()
    def never_more_than_there_is_room_for(self) -> None:
        assert len(self.held._messages) <= self.capacity

    @invariant()
    def what_is_seen_fits(self) -> None:
        backlog = self.held.backlog()
        assert backlog.in_hand == len(self.in_hand) <= backlog.pending
        assert all(frame.messages for frame in self.held._frames.values() if not frame.in_hand)

    def teardown(self) -> None:
        """In the end nothing is kept from others."""
        while self.unopened:
            self.open()
        self.stop()
        self.tell(is_well=True)
        while self.in_hand:
            self.release(0.0)
        while self.held._finished or self.held._returned:
            self.tell(is_well=True)
        assert self.held.wait_until_told(0)
        assert self.held.ours() == []
        assert set(self.deleted.values()) <= {1}


TestHeld = Queue.TestCase
TestHeld.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def received(number: int) -> Received:
    return Received(str(number), "receipt", "", 0.0, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_queue_in_trouble_is_tried_by_one_at_a_time_and_ever_more_seldom(clock: Clock) -> None:
    held = Held(64, clock)
    waits = []
    for number in range(12):
        began = clock.now
        while True:
            held.take(0)
            if held._is_wanted():
                break
            clock.now += 0.1
        waits.append(clock.now - began)
        assert held.want() == (BATCH, number == 0)
        held.take(0)
        assert number == 0 or not held._is_wanted(), "the others wait for the one that tries"
        assert held.failed(AWAY) is (number == 0), "it is news once"
    assert waits[0] == 0
    assert 0.2 <= waits[1] <= 0.7
    assert 15 <= waits[-1] <= 30.2
    clock.now += 31
    held.take(0)
    held.want()
    held.polled(clock.now - 60, True, [])
    assert held.trouble is AWAY, "a poll that began before says nothing of now"
    held.take(0)
    clock.now += 31
    held.take(0)
    held.want()
    held.polled(clock.now, False, [])
    assert held.trouble is None


def test_finished_messages_wait_a_moment_for_company_and_not_longer() -> None:
    held = Held(64)
    held.take(0)
    held.want()
    told = []
    teller = threading.Thread(target=lambda: told.append(held.to_tell()))
    teller.start()
    for message in held.polled(0.0, True, [received(number) for number in range(3)]):
        held.open(message, [])
    teller.join(10)
    assert [len(one.finished) for one in told if one] == [3]


def test_exhausted_is_a_whole_long_poll_after_the_last_thing_that_happened(clock: Clock) -> None:
    held = Held(64, clock)

    def poll(*messages: Received, is_long: bool = True) -> list[Message]:
        held.take(0)
        held.want()
        began = clock.now
        clock.now += 1
        return held.polled(began, is_long, messages)

    assert not held.exhausted()
    clock.now += 1
    poll(is_long=False)
    assert not held.exhausted()
    poll()
    assert held.exhausted()
    (message,) = poll(received(1))
    poll()
    assert not held.exhausted(), "it is not known yet what the message tells of"
    held.open(message, [("a.jpg", None)])
    frame = held.take(0)
    poll()
    assert not held.exhausted(), "a frame is in a hand"
    assert frame is not None
    held.done(frame)
    assert not held.exhausted()
    clock.now += 1
    poll()
    assert held.exhausted()


def test_a_frame_done_while_another_message_of_it_is_looked_at_is_not_done_again(clock: Clock) -> None:
    held = Held(20, clock)
    held.take(0)
    held.want()
    first, second, third = held.polled(clock(), True, [received(number) for number in range(3)])
    held.open(first, [("a.jpg", None)])
    looked = clock()
    clock.now += 1
    frame = held.take(0)
    assert frame is not None
    held.done(frame)
    clock.now += 1
    held.open(second, [("a.jpg", None)], looked)  # its sidecar was not there yet
    assert held.take(0) is None
    told = held.to_tell()
    assert told is not None
    assert told.finished == [first, second]
    held.open(third, [("a.jpg", None)], clock())  # somebody has deleted its sidecar since
    again = held.take(0)
    assert again is not None
    assert again is not frame
