"""A real queue in trouble, or with messages that bring it: poison, unreadable ones, a queue or a store that is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from framecap import telemetry
from framecap.config import S3Config
from framecap.errors import PoisonFrame, StoreUnavailable
from framecap.ingest.sqs import SqsQueue
from tests.ingest.queue_bench import (
    GOOD,
    captioner,
    leased,
    make_ingest,
    settings,
    short_polls,
    started,
    wait_for,
    work,
)
from tests.ingest.test_s3_events import plain
from tests.sqs import TestQueue, make_queue, queue, sqs_server
from tests.worker.fakes import fill

__all__ = ["queue", "short_polls", "sqs_server"]


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
    assert {type(lease.terminal_error) for lease in done.leases} == {PoisonFrame}
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


def test_what_no_one_can_read_ends_in_the_dead_letter_queue_and_is_reported_once(
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
