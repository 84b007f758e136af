"""What holds of the messages leased by a worker, whatever the order in which things happen to them."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from framecap.errors import QueueUnavailable
from framecap.ingest.in_flight import InFlightFrame, InFlightMessage, InFlightMessages
from framecap.ingest.sqs import BATCH, ReceivedMessage

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
        self.in_flight_messages = InFlightMessages(capacity, self.clock)
        self.number = 0
        self.owed: dict[str, set[str]] = {}
        self.in_flight: list[InFlightFrame] = []
        self.unopened: list[InFlightMessage] = []
        self.deleted: Counter[str] = Counter()
        self.stopped = False

    def poll(self) -> bool:
        return not self.stopped and self.in_flight_messages._is_wanted()

    @rule(
        keys=st.lists(st.lists(st.sampled_from(KEYS), unique=True, max_size=3), max_size=BATCH), is_looked_at=st.booleans()
    )
    def receive(self, keys: list[list[str]], is_looked_at: bool) -> None:
        self.take(1)
        if not self.poll():
            return
        most, _ = self.in_flight_messages.want() or (0, True)
        received = []
        for wanted in keys[:most]:
            self.number += 1
            self.owed[str(self.number)] = set(wanted)
            received.append(ReceivedMessage(str(self.number), "receipt", "", 0.0, 1))
        self.unopened += self.in_flight_messages.polled(self.clock(), True, received)
        while is_looked_at and self.unopened:
            self.open()

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        """Our renewal came too late, and the message came back to us."""
        self.take(1)
        if self.poll():
            self.in_flight_messages.want()
            one = data.draw(st.sampled_from(sorted(self.owed)))
            if one in self.in_flight_messages._messages:
                before = self.in_flight_messages._messages[one]
                assert self.in_flight_messages.polled(self.clock(), True, [ReceivedMessage(one, "newest", "", 0.0, 2)]) == []
                assert self.in_flight_messages._messages[one] is before
                assert before.received.receipt == "newest"
            else:
                self.in_flight_messages.polled(self.clock(), True, [])

    @rule()
    def fail(self) -> None:
        if self.poll():
            self.in_flight_messages.want()
            self.in_flight_messages.failed(AWAY)
            assert not self.poll(), "not at once again"

    @precondition(lambda self: self.unopened)
    @rule()
    def open(self) -> None:
        message = self.unopened.pop()
        self.in_flight_messages.open(message, [(key, None) for key in sorted(self.owed[message.received.id])])

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        for _ in range(count):
            frame = self.in_flight_messages.take(0)
            if frame is not None:
                assert not self.stopped
                assert frame.key not in {other.key for other in self.in_flight}
                self.in_flight.append(frame)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        frame = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        for message in frame.messages:
            self.owed[message.received.id].discard(frame.key)
        was_kept = self.in_flight_messages._frames.get(frame.key) is frame
        assert was_kept, "a frame leased is known, or it would be in two"
        self.in_flight_messages.done(frame)

    @precondition(lambda self: self.in_flight)
    @rule(delay=st.sampled_from([0.0, 5.0]))
    def release(self, delay: float) -> None:
        self.in_flight_messages.release(self.in_flight.pop(), delay, counts=True)

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.in_flight_messages.ours())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A renewal came too late, and the message is another's. (Not while it is looked at: that ends first.)"""
        ours = [message for message in self.in_flight_messages.ours() if not message.looking]
        if ours:
            lost = data.draw(st.sampled_from(ours))
            self.in_flight_messages.forget([lost])
            self.owed.pop(lost.received.id, None)

    @rule(is_well=st.booleans())
    def tell(self, is_well: bool) -> None:
        self.clock.now += 1
        if not self.in_flight_messages._returned and not self.in_flight_messages._finished:
            return
        actions = self.in_flight_messages.due_actions()
        assert actions is not None
        if not is_well:
            self.in_flight_messages.retry_later(actions)
            return
        for message in actions.finished:
            assert not self.owed.get(message.received.id), "deleted though a frame is not done"
            self.deleted[message.received.id] += 1
        for message in actions.returned:
            assert self.stopped
            assert not message.in_flight, "given back though a frame of it is leased"
        self.in_flight_messages.forget([*actions.finished, *actions.returned])

    @rule(chance=st.integers(0, 9))
    def stop(self, chance: int = 0) -> None:
        if chance:
            return
        self.in_flight_messages.stop()
        self.stopped = True

    @invariant()
    def never_more_than_the_capacity(self) -> None:
        assert len(self.in_flight_messages._messages) <= self.capacity

    @invariant()
    def what_is_seen_fits(self) -> None:
        backlog = self.in_flight_messages.backlog()
        assert backlog.in_flight == len(self.in_flight) <= backlog.pending
        assert all(frame.messages for frame in self.in_flight_messages._frames.values() if not frame.in_flight)

    def teardown(self) -> None:
        """In the end nothing is kept from others."""
        while self.unopened:
            self.open()
        self.stop()
        self.tell(is_well=True)
        while self.in_flight:
            self.release(0.0)
        while self.in_flight_messages._finished or self.in_flight_messages._returned:
            self.tell(is_well=True)
        assert self.in_flight_messages.wait_for_actions(0)
        assert self.in_flight_messages.ours() == []
        assert set(self.deleted.values()) <= {1}


TestHeld = Queue.TestCase
TestHeld.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def received(number: int) -> ReceivedMessage:
    return ReceivedMessage(str(number), "receipt", "", 0.0, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_queue_in_outage_is_tried_by_one_at_a_time_and_ever_more_seldom(clock: Clock) -> None:
    in_flight_messages = InFlightMessages(64, clock)
    waits = []
    for number in range(12):
        began = clock.now
        while True:
            in_flight_messages.take(0)
            if in_flight_messages._is_wanted():
                break
            clock.now += 0.1
        waits.append(clock.now - began)
        assert in_flight_messages.want() == (BATCH, number == 0)
        in_flight_messages.take(0)
        assert number == 0 or not in_flight_messages._is_wanted(), "the others wait for the one that tries"
        assert in_flight_messages.failed(AWAY) is (number == 0), "it is news once"
    assert waits[0] == 0
    assert 0.2 <= waits[1] <= 0.7
    assert 15 <= waits[-1] <= 30.2
    clock.now += 31
    in_flight_messages.take(0)
    in_flight_messages.want()
    in_flight_messages.polled(clock.now - 60, True, [])
    assert in_flight_messages.outage is AWAY, "a poll that began before says nothing of now"
    in_flight_messages.take(0)
    clock.now += 31
    in_flight_messages.take(0)
    in_flight_messages.want()
    in_flight_messages.polled(clock.now, False, [])
    assert in_flight_messages.outage is None


def test_finished_messages_wait_a_moment_for_company_and_not_longer() -> None:
    in_flight_messages = InFlightMessages(64)
    in_flight_messages.take(0)
    in_flight_messages.want()
    actions = []
    teller = threading.Thread(target=lambda: actions.append(in_flight_messages.due_actions()))
    teller.start()
    for message in in_flight_messages.polled(0.0, True, [received(number) for number in range(3)]):
        in_flight_messages.open(message, [])
    teller.join(10)
    assert [len(one.finished) for one in actions if one] == [3]


def test_exhausted_is_a_whole_long_poll_after_the_last_thing_that_happened(clock: Clock) -> None:
    in_flight_messages = InFlightMessages(64, clock)

    def poll(*messages: ReceivedMessage, is_long: bool = True) -> list[InFlightMessage]:
        in_flight_messages.take(0)
        in_flight_messages.want()
        began = clock.now
        clock.now += 1
        return in_flight_messages.polled(began, is_long, messages)

    assert not in_flight_messages.exhausted()
    clock.now += 1
    poll(is_long=False)
    assert not in_flight_messages.exhausted()
    poll()
    assert in_flight_messages.exhausted()
    (message,) = poll(received(1))
    poll()
    assert not in_flight_messages.exhausted(), "it is not known yet what the message tells of"
    in_flight_messages.open(message, [("a.jpg", None)])
    frame = in_flight_messages.take(0)
    poll()
    assert not in_flight_messages.exhausted(), "a frame is leased"
    assert frame is not None
    in_flight_messages.done(frame)
    assert not in_flight_messages.exhausted()
    clock.now += 1
    poll()
    assert in_flight_messages.exhausted()


def test_a_frame_done_while_another_message_of_it_is_looked_at_is_not_done_again(clock: Clock) -> None:
    in_flight_messages = InFlightMessages(20, clock)
    in_flight_messages.take(0)
    in_flight_messages.want()
    first, second, third = in_flight_messages.polled(clock(), True, [received(number) for number in range(3)])
    in_flight_messages.open(first, [("a.jpg", None)])
    looked = clock()
    clock.now += 1
    frame = in_flight_messages.take(0)
    assert frame is not None
    in_flight_messages.done(frame)
    clock.now += 1
    in_flight_messages.open(second, [("a.jpg", None)], looked)  # its sidecar was not there yet
    assert in_flight_messages.take(0) is None
    actions = in_flight_messages.due_actions()
    assert actions is not None
    assert actions.finished == [first, second]
    in_flight_messages.open(third, [("a.jpg", None)], clock())  # somebody has deleted its sidecar since
    retry_later = in_flight_messages.take(0)
    assert retry_later is not None
    assert retry_later is not frame
