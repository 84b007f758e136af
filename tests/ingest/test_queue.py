"""Leases from a real queue (moto's, over HTTP) on the frames of a real store."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from framecap import telemetry
from framecap.config import IngestConfig, S3Config, StoreConfig, WorkerConfig
from framecap.errors import ConfigError, PoisonFrame, StoreUnavailable
from framecap.ingest import open_ingest
from framecap.ingest import queue as queue_module
from framecap.ingest.base import Ingest
from framecap.ingest.queue import QueueIngest
from framecap.ingest.sqs import SqsQueue
from framecap.sidecar import Sidecar
from framecap.stores import open_store
from framecap.stores.s3_client import S3Address
from framecap.worker.run import WorkSummary, run_worker
from tests.ingest.test_events import plain, through_eventbridge, through_sns
from tests.sqs import TestQueue, make_queue, queue, sqs_server
from tests.worker.fakes import A_CAPTION, RecordedIngest, RecordedLease, ScriptedCaptioner, check_oracle, fill, local_store
from tests.worker.pictures import encoded, scene

__all__ = ["queue", "sqs_server"]

PLACE = S3Address("a-bucket", "cams/")
GOOD = encoded(scene(32, 24))
SOON = 20.0  # seconds: more than anything here takes on a busy machine


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "SLOW_POLL_SECONDS", 1)
    monkeypatch.setattr(queue_module, "_COUNT_SECONDS", 0.2)


def settings(visibility: int = 30, settle: float = 0.3) -> IngestConfig:
    """The schema asks for ten seconds or more: tests have no time for that."""
    return IngestConfig(settle_seconds=settle).model_copy(update={"visibility_seconds": visibility})


def make_ingest(root: Path, queue: TestQueue, config: IngestConfig | None = None, capacity: int = 64) -> QueueIngest:
    config = config or settings()
    sqs = SqsQueue(queue.url, S3Config(attempts=2), config.visibility_seconds / 3)
    return QueueIngest(config, sqs, PLACE, local_store(root), capacity)


@contextmanager
def started(ingest: QueueIngest) -> Iterator[QueueIngest]:
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.close()


def wait_for(holds: Callable[[], object], seconds: float = SOON) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)


def leased(ingest: Ingest, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ends = time.monotonic() + SOON
    while len(found) < count:
        assert time.monotonic() < ends, f"{len(found)} of {count} frames came"
        lease = ingest.lease(0.5)
        if lease is not None:
            assert lease.entry.key not in found
            found[lease.entry.key] = lease
    return found


@dataclass
class Worked:
    summary: WorkSummary
    committed: list[Sidecar]
    leases: list[RecordedLease]


class _Done:
    """A flag that is set when so many leases are done; never, when it is None."""

    def __init__(self, ingest: RecordedIngest, count: int | None) -> None:
        self._ingest, self._count = ingest, count

    def is_set(self) -> bool:
        return self._count is not None and sum("done" in lease.ended for lease in self._ingest.leases) >= self._count


def work(root: Path, ingest: QueueIngest, captioner: ScriptedCaptioner, frames: int | None = None) -> Worked:
    """Run a worker until it has done so many frames, or (as --once) until the queue was empty for a whole poll."""
    recorded = RecordedIngest(ingest)
    committed: list[Sidecar] = []
    finish = threading.Event()
    finish.set()
    config = WorkerConfig(decoders=1, batch_size=8, queue=16)
    with started(ingest):
        stop = _Done(recorded, frames)
        summary = run_worker(config, local_store(root), recorded, captioner, stop, finish, committed.append)
    return Worked(summary, committed, recorded.leases)


def captioner() -> ScriptedCaptioner:
    return ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))


@pytest.mark.faults(22)
def test_each_frame_once_whatever_the_messages_are(
    tmp_path: Path, queue: TestQueue, full: bool, figure: Callable[[str], None]
) -> None:
    count = 150 if full else 30
    names = [f"east/{n} ä+b%20c.jpg" for n in range(count)] + ["the sea 海.png", "west/x.jpg"]
    fill(tmp_path, {**dict.fromkeys(names, GOOD), "done/a.jpg": GOOD, "done/a.jpg.json": b'{"status": "failed"}'})
    bodies = [form(f"cams/{name}") for name in names for form in (plain, through_sns, through_eventbridge)]
    bodies.append(plain("cams/deleted.jpg", "cams/west/x.jpg", "cams/deleted too.jpg"))
    bodies += [plain("cams/done/a.jpg"), plain("cams/west/x.jpg.json"), plain("elsewhere/x.jpg")]
    bodies += [plain("cams/west/x.jpg", event="ObjectRemoved:Delete"), {"Event": "s3:TestEvent"}]
    random.Random(1).shuffle(bodies)
    queue.send(*bodies)
    model = captioner()
    done = work(tmp_path, make_ingest(tmp_path, queue), model)
    (tmp_path / "done/a.jpg").unlink()
    assert len(check_oracle(tmp_path, done.committed)) == len(names) == done.summary.captioned
    # a message that was looked into just before its frame's commit may bring one caption more, and no second commit
    assert len(names) <= sum(model.batches) <= len(names) + 2, "what has its sidecar is not captioned"
    assert queue.counts() == (0, 0)
    assert queue.counts(queue.dead_url) == (0, 0)
    figure(f"{len(bodies)} messages about {len(names)} frames: 0 stuck, {sum(model.batches)} captions")


@pytest.mark.faults(23)
def test_a_batch_that_outlasts_the_visibility_is_nobody_elses(
    tmp_path: Path, queue: TestQueue, full: bool, figure: Callable[[str], None]
) -> None:
    """Another consumer, who would take what is visible, gets nothing in all that time."""
    visibility, seconds = (10, 60.0) if full else (2, 4.5)
    names = [f"a/{n}.jpg" for n in range(24)]
    fill(tmp_path, dict.fromkeys(names, GOOD))
    queue.send(*(plain(f"cams/{name}") for name in names))
    begun, over = threading.Event(), threading.Event()
    stolen: list[Any] = []

    def answer(images: Any) -> list[Any]:
        if not begun.is_set():
            begun.set()
            time.sleep(seconds)
        return [A_CAPTION] * len(images)

    def steal() -> None:
        begun.wait(SOON)
        wait_for(lambda: ingest.backlog().pending == len(names) or queue.counts()[0] == 0)
        ends = time.monotonic() + seconds - 1
        while time.monotonic() < ends and not over.is_set():
            stolen.extend(message for message in queue.receive(visibility=1))
            over.wait(0.1)

    ingest = make_ingest(tmp_path, queue, settings(visibility), capacity=64)
    thief = threading.Thread(target=steal)
    thief.start()
    model = ScriptedCaptioner(answer)
    done = work(tmp_path, ingest, model, len(names))
    over.set()
    thief.join()
    assert done.summary.captioned == len(names) == sum(model.batches)
    assert stolen == []
    assert queue.counts() == (0, 0)
    figure(f"a batch of {seconds:g} s under a visibility of {visibility} s: {len(stolen)} redeliveries")


def test_without_renewal_a_message_would_be_anothers(
    tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above can fail."""
    monkeypatch.setattr(QueueIngest, "_renew_for_ever", lambda self: None)
    queue.send(plain("cams/a.jpg"))
    with started(make_ingest(tmp_path, queue, settings(visibility=1))) as ingest:
        (lease,) = leased(ingest, 1).values()
        wait_for(lambda: queue.receive(visibility=30), 5)
        lease.done()


def test_a_message_goes_only_when_all_of_its_frames_are_done(tmp_path: Path, queue: TestQueue) -> None:
    fill(tmp_path, {"a.jpg": GOOD, "b.jpg": GOOD})
    queue.send(plain("cams/a.jpg", "cams/b.jpg"))
    with started(make_ingest(tmp_path, queue)) as ingest:
        found = leased(ingest, 2)
        found["a.jpg"].done()
        assert not ingest.held.wait_until_told(0.5) or queue.counts() == (0, 1)
        assert queue.counts() == (0, 1)
        found["b.jpg"].done()
        wait_for(lambda: queue.counts() == (0, 0))


def test_a_second_message_about_a_frame_in_hand_waits_for_its_end(tmp_path: Path, queue: TestQueue) -> None:
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    with started(make_ingest(tmp_path, queue)) as ingest:
        (lease,) = leased(ingest, 1).values()
        queue.send(plain("cams/a.jpg"))
        assert ingest.lease(0.1) is None
        wait_for(lambda: ingest.lease(0.1) or queue.counts() == (0, 2))
        lease.done()
        wait_for(lambda: queue.counts() == (0, 0))
        assert ingest.lease(0.1) is None


def test_no_more_is_received_than_the_pipeline_holds(tmp_path: Path, queue: TestQueue) -> None:
    names = [f"{n}.jpg" for n in range(60)]
    fill(tmp_path, dict.fromkeys(names, GOOD))
    queue.send(*(plain(f"cams/{name}") for name in names))
    with started(make_ingest(tmp_path, queue, capacity=20)) as ingest:
        held = leased(ingest, 20)
        for _ in range(5):
            assert ingest.lease(0.3) is None
        assert queue.counts() == (40, 20)
        wait_for(lambda: ingest.backlog().pending == 60)
        backlog = ingest.backlog()
        assert backlog.in_hand == 20
        assert backlog.oldest == pytest.approx(time.time(), abs=60)
        assert telemetry.pending_frames._value.get() in (20, 60)
        for lease in held.values():
            lease.done()
        assert len(leased(ingest, 20)) == 20


def test_who_nobody_asks_for_a_frame_receives_none(tmp_path: Path, queue: TestQueue) -> None:
    queue.send(plain("cams/a.jpg"))
    with started(make_ingest(tmp_path, queue)) as ingest:
        time.sleep(0.5)
        assert queue.counts() == (1, 0)
        assert ingest.lease(SOON) is not None


def test_what_is_given_back_stays_here_and_is_leased_again(tmp_path: Path, queue: TestQueue) -> None:
    """To go through the queue for every second try would make a long outage of the store poison for all frames."""
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    with started(make_ingest(tmp_path, queue)) as ingest:
        for attempt in (1, 2, 2):
            (lease,) = leased(ingest, 1).values()
            assert (lease.attempt, lease.given_up) == (attempt, None)
            lease.release(0.2, counts=attempt == 1)
            before = time.monotonic()
        (lease,) = leased(ingest, 1).values()
        assert time.monotonic() - before >= 0.19
        assert queue.counts() == (0, 1)
        with pytest.raises(RuntimeError, match="has ended already"):
            lease.done(), lease.release(0)


def test_on_stop_what_is_not_begun_is_everybodys_at_once(tmp_path: Path, queue: TestQueue) -> None:
    names = [f"{n}.jpg" for n in range(12)]
    fill(tmp_path, dict.fromkeys(names, GOOD))
    queue.send(*(plain(f"cams/{name}") for name in names))
    with started(make_ingest(tmp_path, queue)) as ingest:
        first, second, third = leased(ingest, 3).values()
        wait_for(lambda: queue.counts() == (0, 12))
        third.release(5.0)
        ingest.stop()
        wait_for(lambda: queue.counts() == (10, 2), 5)
        assert ingest.lease(0.1) is None
        first.done()
        second.release(0.0, counts=False)
        wait_for(lambda: queue.counts() == (11, 0), 5)


def test_closing_in_a_long_poll_takes_no_time(tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "SLOW_POLL_SECONDS", 20)
    ingest = make_ingest(tmp_path, queue)
    with started(ingest):
        assert ingest.lease(0.5) is None
        began = time.monotonic()
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a surprise")])
def test_a_store_that_cannot_say_what_is_done_is_the_workers_to_find_out(
    tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    queue.send(plain("cams/a.jpg", "cams/b.jpg"))
    ingest = make_ingest(tmp_path, queue)

    def fail(key: str) -> bytes:
        raise error

    monkeypatch.setattr(ingest._store, "read_sidecar", fail)
    with started(ingest):
        assert leased(ingest, 2).keys() == {"a.jpg", "b.jpg"}


def test_a_receiver_that_can_start_no_thread_lets_its_messages_go_and_goes_on(
    tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    ingest = make_ingest(tmp_path, queue, settings(visibility=1))
    look, failed = ingest._look_at, threading.Event()

    def fail_once(keys: Sequence[str]) -> Any:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("can't start new thread")
        return look(keys)

    monkeypatch.setattr(ingest, "_look_at", fail_once)
    with started(ingest):
        assert leased(ingest, 1).keys() == {"a.jpg"}
    assert failed.is_set()


@pytest.mark.parametrize("torn", [b'{"status": "capt', b""])
def test_a_torn_sidecar_is_no_sidecar(tmp_path: Path, queue: TestQueue, torn: bytes) -> None:
    fill(tmp_path, {"a.jpg": GOOD, "a.jpg.json": torn})
    queue.send(plain("cams/a.jpg"))
    done = work(tmp_path, make_ingest(tmp_path, queue), captioner(), 1)
    assert check_oracle(tmp_path, done.committed).keys() == {"a.jpg"}


def test_a_frame_that_is_still_written_settles_first(tmp_path: Path, queue: TestQueue) -> None:
    fill(tmp_path, {"a.jpg": b"", "b.jpg": GOOD[: len(GOOD) // 2]})
    queue.send(plain("cams/a.jpg", "cams/b.jpg"))
    done = work(tmp_path, make_ingest(tmp_path, queue), captioner(), 2)
    assert done.summary.failed == 2
    assert {made.error.kind for made in done.committed if made.error} == {"empty", "truncated"}
    assert {tuple(lease.ended) for lease in done.leases} == {("given back",), ("done",)}
    assert queue.counts() == (0, 0)


# Poison and what nobody can read


def test_one_receive_before_the_limit_a_frame_is_failed_untouched(tmp_path: Path, sqs_server: str, queue: TestQueue) -> None:
    queue = make_queue(sqs_server, receives=4)
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg", "cams/gone.jpg"))
    for _ in range(2):  # workers that died of it
        assert [message["Attributes"]["ApproximateReceiveCount"] for message in queue.receive(visibility=0)]
    model = captioner()
    done = work(tmp_path, make_ingest(tmp_path, queue), model, 2)
    (made,) = done.committed
    assert made.error is not None
    assert (made.status, made.error.kind, made.error.attempts, made.frame.sha256) == ("failed", "poison", 3, None)
    assert "received 3 times and never finished, of 4" in made.error.message
    assert "framecap retry --kind poison" in made.error.message
    assert {type(lease.given_up) for lease in done.leases} == {PoisonFrame}
    assert (done.summary.failed, model.batches) == (1, [])
    assert queue.counts() == (0, 0)


def test_before_that_it_is_tried(tmp_path: Path, sqs_server: str, queue: TestQueue) -> None:
    queue = make_queue(sqs_server, receives=4)
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    assert queue.receive(visibility=0)
    assert work(tmp_path, make_ingest(tmp_path, queue), captioner(), 1).summary.captioned == 1


@pytest.mark.parametrize(("receives", "says"), [(None, "no redrive policy"), (1, "maxReceiveCount is 1")])
def test_a_queue_that_cannot_hold_the_promise_is_named(
    tmp_path: Path,
    sqs_server: str,
    queue: TestQueue,
    receives: int | None,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = make_queue(sqs_server, receives)
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    with caplog.at_level(logging.WARNING, "framecap"):
        done = work(tmp_path, make_ingest(tmp_path, queue), captioner(), 1)
    assert done.summary.captioned == 1
    assert says in caplog.text


def test_what_nobody_can_read_ends_in_the_dead_letter_queue_and_is_said_once(
    tmp_path: Path, sqs_server: str, queue: TestQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue(sqs_server, receives=3)
    fill(tmp_path, {"a.jpg": GOOD})
    queue.send("hello", plain("cams/a.jpg"))
    with (
        caplog.at_level(logging.WARNING, "framecap"),
        started(make_ingest(tmp_path, queue, settings(visibility=1))) as ingest,
    ):
        for lease in leased(ingest, 1).values():
            lease.done()
        wait_for(lambda: ingest.lease(0.2) or queue.counts(queue.dead_url) == (1, 0))
    assert caplog.text.count("left for the dead-letter queue") == 1
    assert queue.receive(url=queue.dead_url)[0]["Body"] == "hello"


# The queue away, wrong or forbidden


def test_a_queue_that_is_away_is_waited_for(
    tmp_path: Path, sqs_server: str, queue: TestQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, {"a.jpg": GOOD, "b.jpg": GOOD})
    queue.send(plain("cams/a.jpg"))
    with caplog.at_level(logging.INFO, "framecap"), started(make_ingest(tmp_path, queue)) as ingest:
        (lease,) = leased(ingest, 1).values()
        with monkeypatch.context() as away:
            for call in ("_client", "_patient", "_hasty"):
                away.setattr(ingest._queue, call, getattr(SqsQueue("http://127.0.0.1:9/1/x", S3Config(attempts=1)), call))
            lease.done()
            wait_for(lambda: ingest.lease(0.2) or any("trying again" in problem for problem in not_ready()))
            wait_for(lambda: "cannot be told what is done" in caplog.text)
        queue.send(plain("cams/b.jpg"))
        assert leased(ingest, 1).keys() == {"b.jpg"}
        wait_for(lambda: not_ready() == [])  # another receiver may have failed last
        wait_for(lambda: queue.counts() == (0, 1))
    assert caplog.text.count("no frames from the queue") == 1
    assert "the queue answers again" in caplog.text


def not_ready() -> list[str]:
    """As /readyz says while something is at work."""
    with telemetry.health.watching(alive=[lambda: None]):
        return telemetry.health.not_ready()


def test_messages_that_became_anothers_are_let_go(tmp_path: Path, queue: TestQueue) -> None:
    """A receipt that the queue does not know any more: the frame is done or comes again, nobody waits for it."""
    fill(tmp_path, {"a.jpg": GOOD, "b.jpg": GOOD})
    queue.send(plain("cams/a.jpg"), plain("cams/b.jpg"))
    with started(make_ingest(tmp_path, queue, settings(visibility=2))) as ingest:
        found = leased(ingest, 2)
        found["b.jpg"].release(60)
        queue.client.purge_queue(QueueUrl=queue.url)
        wait_for(lambda: ingest.backlog().pending == 1, 5)
        found["a.jpg"].done()
        wait_for(lambda: ingest.backlog().pending == 0)


def test_a_queue_needs_a_bucket(tmp_path: Path, queue: TestQueue) -> None:
    config = StoreConfig(frames=str(tmp_path))
    with pytest.raises(ConfigError, match="give s3://bucket/prefix"):
        open_ingest(IngestConfig(queue="http://127.0.0.1:9/1/frames"), open_store(config), config)


def test_importing_the_package_imports_no_boto3() -> None:
    code = "import sys, framecap.ingest.queue, framecap.upkeep.reconcile; assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
