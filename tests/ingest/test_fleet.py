"""Two workers, one bucket, one queue: SeaweedFS and moto, real processes, real kills."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from framecap.sidecars import sidecar
from tests import command
from tests.ingest.test_s3_events import plain
from tests.s3 import S3Server, s3_server
from tests.sqs import TestQueue, make_queue, sqs_server
from tests.worker.images import encoded, scene

__all__ = ["s3_server", "sqs_server"]

TINY = encoded(scene(16, 12))
MOST_WAITING = 300  # moto's calls take longer the more messages it holds
SOON = 60.0


@dataclass
class Fleet:
    """What the workers of one test share."""

    s3: S3Server
    queue: TestQueue
    bucket: str
    folder: Path
    client: Any
    runs: list[Path] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key}
        return command.environment(AWS_DEFAULT_REGION="us-east-1", **keys)

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/cams"

    def add(self, keys: list[str]) -> None:
        """Store frames and send the events that S3 would."""
        for key in keys:
            self.client.put_object(Bucket=self.bucket, Key=f"cams/{key}", Body=TINY)
        self.queue.send(*(plain(f"cams/{key}", bucket=self.bucket) for key in keys))

    def start(self, visibility: int) -> subprocess.Popen[bytes]:
        log = self.folder / f"run-{len(self.runs)}"
        log.touch()
        self.runs.append(log)
        arguments = [self.address, self.queue.url, self.s3.url, str(log), str(visibility)]
        with (self.folder / f"said-{len(self.runs)}").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.ingest.fleet_worker", *arguments],
                cwd=command.ROOT,
                env=self.environment(),
                stderr=output,
            )

    def output(self) -> Counter[str]:
        """Lines of all runs' logs, by their first word."""
        return Counter(line.partition(" ")[0] for log in self.runs for line in log.read_text().splitlines())

    def committed(self) -> list[str]:
        lines = [line.partition(" ") for log in self.runs for line in log.read_text().splitlines()]
        return [key for word, _, key in lines if word == "committed"]

    def sidecars(self) -> dict[str, bytes]:
        """Key of the frame → bytes of its sidecar."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="cams/")
        keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].endswith(".json")]
        return {
            key.removeprefix("cams/").removesuffix(".json"): self.client.get_object(Bucket=self.bucket, Key=key)[
                "Body"
            ].read()
            for key in keys
        }


@pytest.fixture
def fleet(s3_server: S3Server, sqs_server: str, tmp_path: Path) -> Fleet:
    client = s3_server.client()
    bucket = f"fleet-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=bucket)
    return Fleet(s3_server, make_queue(sqs_server, receives=20), bucket, tmp_path, client)


@contextmanager
def ended(processes: list[subprocess.Popen[Any]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(holds: Callable[[], object], seconds: float = SOON) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.1)


@pytest.mark.faults(21)
@pytest.mark.long(6)
@pytest.mark.timeout(1800)
def test_two_workers_killed_again_and_again_lose_and_double_nothing(
    fleet: Fleet, full: bool, figure: Callable[[str], None]
) -> None:
    count, kills, visibility = (10_000, 5, 5) if full else (240, 2, 3)
    frames = [f"camera-{number % 7}/{number:05d}.jpg" for number in range(count)]

    def feed() -> None:
        for start in range(0, count, 20):
            wait_for(lambda: fleet.queue.counts()[0] < MOST_WAITING, 600)
            fleet.add(frames[start : start + 20])

    chance = random.Random(1)
    workers = [fleet.start(visibility) for _ in range(2)]
    feeder = threading.Thread(target=feed)
    with ended(workers):
        feeder.start()
        for number in range(2 * kills):
            at = (number + chance.uniform(0.2, 0.8)) * 0.9 * count / (2 * kills)
            wait_for(lambda at=at: fleet.output()["committed"] >= at, 600)  # type: ignore[misc]
            which = number % 2
            os.kill(workers[which].pid, signal.SIGKILL)
            workers[which].wait()
            workers[which] = fleet.start(visibility)
        feeder.join()
        wait_for(lambda: fleet.queue.counts() == (0, 0), 600)
        for worker in workers:
            worker.terminate()
        assert [worker.wait(SOON) for worker in workers] == [0, 0]

    sidecars = fleet.sidecars()
    sha256 = hashlib.sha256(TINY).hexdigest()
    assert sidecars.keys() == set(frames)
    for key, data in sidecars.items():
        made = sidecar.decode(data, key)
        assert (made.status, made.frame.key, made.frame.sha256) == ("captioned", key, sha256)
    assert max(Counter(fleet.committed()).values()) == 1
    assert fleet.queue.counts(fleet.queue.dead_url) == (0, 0)
    output = fleet.output()
    lost = output["captioned"] - output["committed"] - output["already_there"]
    extra = output["already_there"] / count
    figure(
        f"{count} frames, {2 * kills} kills: 0 missing, 0 double, extra captioning {extra:.2%} "
        f"and {lost} frames that the kills lost"
    )
    assert extra < 0.01
    assert lost <= 2 * kills * 32, "a kill costs what was in flight"


def test_the_command_takes_from_the_queue_and_leaves_it_empty(fleet: Fleet) -> None:
    frames = [f"a camera/{number} ä+.jpg" for number in range(12)]
    fleet.add(frames)
    fleet.client.put_object(Bucket=fleet.bucket, Key="cams/forgotten.jpg", Body=TINY)
    settings = {
        "FRAMECAP__STORE__S3__ENDPOINT": fleet.s3.url,
        "FRAMECAP__STORE__S3__PATH_STYLE": "true",
        "FRAMECAP__INGEST__QUEUE": fleet.queue.url,
        "FRAMECAP__WORKER__NEAR_DUPLICATES__ENABLED": "true",
        "FRAMECAP__WORKER__DECODERS": "1",
    } | fleet.environment()
    frames_flag = ["--frames", fleet.address]
    worker = command.start("work", *frames_flag, "--runtime", "null", cwd=fleet.folder, **settings)
    with ended([worker]):
        wait_for(lambda: fleet.queue.counts() == (0, 0))
        assert fleet.sidecars().keys() == set(frames)
        done = command.run("reconcile", *frames_flag, "--older-than", "0", cwd=fleet.folder, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == '{"frames": 13, "old": 1, "young": 0, "waiting": 0, "sent": 1}\n'
        wait_for(lambda: "forgotten.jpg" in fleet.sidecars())
        wait_for(lambda: fleet.queue.counts() == (0, 0))
        worker.send_signal(signal.SIGTERM)
        _, output = worker.communicate(timeout=SOON)
    assert worker.returncode == 0
    assert "worker.near_duplicates is off" in output
