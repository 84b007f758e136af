"""Leases from a real queue (moto's, over HTTP) on the frames of a real store."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framecap import telemetry
from framecap.config import IngestConfig, StoreConfig
from framecap.errors import ConfigError
from framecap.ingest import open_ingest
from framecap.ingest import queue as queue_module
from framecap.ingest.queue import QueueIngest
from framecap.stores import open_store
from tests.ingest.queue_bench import (
    GOOD,
    SOON,
    captioner,
    leased,
    make_ingest,
    settings,
    short_polls,
    started,
    wait_for,
    work,
)
from tests.ingest.test_s3_events import plain, through_eventbridge, through_sns
from tests.sqs import TestQueue, queue, sqs_server
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner, check_oracle, fill

__all__ = ["queue", "short_polls", "sqs_server"]


@pytest.mark.faults(22)
def test_each_frame_once_whatever_the_messages_are(
    tmp_path: Path, queue: TestQueue, full: bool, figure: Callable[[str], None]
) -> None:
    count = 150 if full else 30
    names = [f"east/{n} ä+b%20c.jpg" for n in range(count)] + ["the sea 海.png", "west/x.jpg"]
    fill(
        tmp_path, {**dict.fromkeys(names, GOOD), "done/a.jpg": GOOD, "done/a.jpg.json": b'{"status": "failed", "frame": {}}'}
    )
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
def test_a_batch_that_outlasts_the_visibility_is_no_one_elses(
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
        assert not ingest.in_flight_messages.wait_for_actions(0.5) or queue.counts() == (0, 1)
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
        in_flight_messages = leased(ingest, 20)
        for _ in range(5):
            assert ingest.lease(0.3) is None
        assert queue.counts() == (40, 20)
        wait_for(lambda: ingest.backlog().pending == 60)
        backlog = ingest.backlog()
        assert backlog.in_flight == 20
        assert backlog.oldest == pytest.approx(time.time(), abs=60)
        assert telemetry.pending_frames._value.get() in (20, 60)
        for lease in in_flight_messages.values():
            lease.done()
        assert len(leased(ingest, 20)) == 20


def test_who_no_one_asks_for_a_frame_receives_none(tmp_path: Path, queue: TestQueue) -> None:
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
            assert (lease.attempt, lease.terminal_error) == (attempt, None)
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


@pytest.mark.parametrize("replaces", [b'{"status": "capt', b""])
def test_a_truncated_sidecar_is_no_sidecar(tmp_path: Path, queue: TestQueue, replaces: bytes) -> None:
    fill(tmp_path, {"a.jpg": GOOD, "a.jpg.json": replaces})
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


def test_a_queue_needs_a_bucket(tmp_path: Path, queue: TestQueue) -> None:
    config = StoreConfig(frames=str(tmp_path))
    with pytest.raises(ConfigError, match="give s3://bucket/prefix"):
        open_ingest(IngestConfig(queue="http://127.0.0.1:9/1/frames"), open_store(config), config)


def test_importing_the_package_imports_no_boto3() -> None:
    code = "import sys, framecap.ingest.queue, framecap.upkeep.reconcile; assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
