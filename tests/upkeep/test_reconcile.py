"""Frames that no event told of, found in a real store and put on a real queue (moto's)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from framecap.cli import main
from framecap.config import S3Config
from framecap.errors import QueueUnavailable
from framecap.ingest.s3_events import frame_keys
from framecap.ingest.sqs import SqsQueue
from framecap.stores.s3_client import S3Address
from framecap.upkeep.reconcile import Reconciled, reconcile
from tests.sqs import TestQueue, queue, sqs_server
from tests.worker.fakes import fill, local_store

__all__ = ["queue", "sqs_server"]

ADDRESS = S3Address("a-bucket", "cams/")
OLD = 3600.0  # seconds


def store_frames(root: Path, keys: list[str], age: float = OLD, sidecars: dict[str, bytes] | None = None) -> None:
    fill(root, dict.fromkeys(keys, b"a frame") | {f"{key}.json": data for key, data in (sidecars or {}).items()})
    then = time.time() - age
    for key in keys:
        os.utime(root / key, (then, then))


def run(root: Path, queue: TestQueue, dry_run: bool = False) -> Reconciled:
    return reconcile(local_store(root), SqsQueue(queue.url, S3Config()), ADDRESS, 900, dry_run, lambda: None)


def reported(queue: TestQueue) -> list[str]:
    keys: list[str] = []
    while messages := queue.receive():
        keys += [key for message in messages for key in frame_keys(message["Body"], ADDRESS)]
    return sorted(keys)


def test_what_has_no_sidecar_for_long_is_reported_of_as_s3_would(tmp_path: Path, queue: TestQueue) -> None:
    forgotten = [f"a/{number} ä+%20.jpg" for number in range(23)] + ["b/empty sidecar.jpg"]
    store_frames(tmp_path, [*forgotten, "a/done.jpg"], sidecars={"a/done.jpg": b"{}", "b/empty sidecar.jpg": b""})
    store_frames(tmp_path, ["a/young.jpg"], age=60)
    assert run(tmp_path, queue, dry_run=True) == Reconciled(frames=26, old=24, young=1, waiting=0, sent=0)
    assert queue.counts() == (0, 0)
    assert run(tmp_path, queue) == Reconciled(frames=26, old=24, young=1, waiting=0, sent=24)
    assert reported(queue) == sorted(forgotten)


def test_what_waits_in_the_queue_is_not_forgotten(tmp_path: Path, queue: TestQueue) -> None:
    """Else every run would add the whole backlog once more."""
    store_frames(tmp_path, [f"{number}.jpg" for number in range(12)])
    assert run(tmp_path, queue).sent == 12
    assert queue.receive(), "some are leased by a worker"
    found = run(tmp_path, queue)
    assert (found.waiting, found.old, found.forgotten, found.sent) == (12, 12, False, 0)
    store_frames(tmp_path, ["one more.jpg"])
    assert run(tmp_path, queue).sent == 13, "one is forgotten, nobody knows which"


def test_nothing_to_do_sends_nothing(tmp_path: Path, queue: TestQueue) -> None:
    store_frames(tmp_path, ["a.jpg"], sidecars={"a.jpg": b"{}"})
    store_frames(tmp_path, ["b.jpg"], age=60)
    assert run(tmp_path, queue) == Reconciled(frames=2, old=0, young=1, waiting=0, sent=0)


def test_a_message_that_the_queue_did_not_take_is_sent_again(
    tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number:02}.jpg" for number in range(15)]
    store_frames(tmp_path, keys)
    send, sizes = SqsQueue.send, []

    def first_time_without_the_first(self: SqsQueue, bodies: list[str]) -> list[int]:
        sizes.append(len(bodies))
        if len(sizes) > 1:
            return send(self, bodies)
        assert send(self, bodies[1:]) == []
        return [0]

    monkeypatch.setattr(SqsQueue, "send", first_time_without_the_first)
    assert run(tmp_path, queue).sent == 15
    assert sizes == [10, 1, 5]
    assert reported(queue) == keys


def test_a_queue_that_takes_nothing_is_reported(tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.upkeep.reconcile._FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(SqsQueue, "send", lambda self, bodies: list(range(len(bodies))))
    store_frames(tmp_path, ["a.jpg"])
    with pytest.raises(QueueUnavailable, match="the queue took 0 messages and then refused: run it again"):
        run(tmp_path, queue)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frames", "s3://a-bucket/cams"], "give --queue"),
        (["--frames", "s3://a-bucket/cams", "--queue", "{url}", "--older-than", "nan"], "seconds are expected"),
        (["--frames", "s3://a-bucket/cams", "--queue", "{url}", "--older-than", "-1"], "seconds are expected"),
        (["--frames", "s3://a-bucket/cams", "--queue", "{url}-another"], "there is no such queue"),
        (["--frames", "/mnt/bucket/cams", "--queue", "{url}"], "give s3://bucket/prefix"),
    ],
)
def test_wrong_use_is_reported(
    queue: TestQueue, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["reconcile", *(argument.format(url=queue.url) for argument in arguments)]) == 2
    assert says in capsys.readouterr().err
