"""Cameras on one host, a worker on another, each with a mount of the same bucket (or the bucket itself): no event helps."""

from __future__ import annotations

import hashlib
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import pytest

from framecap.config import StoreConfig
from framecap.frames import FrameName, make_key
from framecap.sidecars import sidecar
from framecap.stores import open_store
from framecap.stores.base import PutResult
from tests import command
from tests.s3 import Bucket, MountedBucket, mounted
from tests.tiny import draw_image

DEADLINE_SECONDS = 60.0  # seconds
A_LOOK = 0.02  # seconds between two looks for a sidecar: what a measured delay can be too long by


@dataclass(frozen=True)
class Hosts:
    """One bucket; the cameras' mount of it, the worker's, and the test's own view through the API."""

    cameras: MountedBucket
    worker: MountedBucket
    client: Any

    def put(self, key: str) -> None:
        """A frame from somewhere else."""
        self.client.put_object(Bucket=self.cameras.bucket, Key=key, Body=jpeg(key))

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.cameras.bucket, Key=key)["Body"].read())

    def listed(self) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.cameras.bucket)
        return {
            item["Key"]: item["Size"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")
        }

    def captioned(self) -> list[str]:
        """The frames that have a sidecar."""
        listed = self.listed()
        return [key for key in listed if key.endswith(".jpg") and listed.get(f"{key}.json", 0) > 0]


@pytest.fixture
def hosts(bucket: Bucket, new_bucket: str, tmp_path: Path) -> Iterator[Hosts]:
    with (
        mounted(bucket.server, new_bucket, tmp_path / "cameras") as cameras,
        mounted(bucket.server, new_bucket, tmp_path / "worker") as worker,
    ):
        yield Hosts(cameras, worker, bucket.client)


def jpeg(text: str) -> bytes:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
    return cv2.imencode(".jpg", draw_image("red", "ball", seed))[1].tobytes()


@dataclass(frozen=True)
class Worker:
    """A worker's process, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def hear(self, words: str) -> None:
        """Wait until it says something."""
        wait_until(lambda: words in self.log.read_text(), f"{words!r} was not said")


@contextmanager
def worker(frames: object, folder: Path, *arguments: str, **settings: str) -> Iterator[Worker]:
    """`framecap work` without a model, ended by SIGTERM in good order."""
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command.COMMAND, "work", "--frames", str(frames), "--runtime", "null", *arguments],
            cwd=folder,
            env=command.environment(**settings),
            stdout=output,
            stderr=output,
        )
    try:
        running = Worker(process, log)
        running.hear("captioning the frames in")
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.1)


def check(hosts: Hosts, count: int) -> None:
    """Every frame has one valid sidecar about it, and nothing else is there."""
    listed = hosts.listed()
    frames = [key for key in listed if key.endswith(".jpg")]
    assert len(frames) == count
    assert listed.keys() == {*frames, *(f"{key}.json" for key in frames)}
    for key in frames:
        made = sidecar.decode(hosts.get(f"{key}.json"))
        assert (made.status, made.frame.key) == ("captioned", key)
        assert made.frame.sha256 == hashlib.sha256(hosts.get(key)).hexdigest()


@pytest.mark.faults(8)
@pytest.mark.parametrize("through", ["mount", "api"])
def test_what_one_host_captures_another_captions(
    through: str, hosts: Hosts, bucket: Bucket, clip: Path, tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    """The delay is from the return of the frame's close on one host to the sidecar's being there for a third one."""
    address = hosts.worker.path if through == "mount" else f"s3://{hosts.worker.bucket}"
    scan_seconds, count = (2.0, 40) if full else (0.5, 6)
    with worker(address, tmp_path, "--set", f"ingest.scan_seconds={scan_seconds}", **bucket.settings()):
        done = command.run("capture", clip, "--every", "30", "--frames", hosts.cameras.path, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(hosts.captioned()) == 11, "not all frames of the clip were captioned")
        delays = [delay(hosts, number, scan_seconds) for number in range(count)]
    check(hosts, 11 + count)
    figure(
        f"worker through the {through}, scan_seconds {scan_seconds}: {count} frames, from close to sidecar "
        f"{statistics.median(delays):.1f} s (median), {max(delays):.1f} s (most)"
    )


def delay(hosts: Hosts, number: int, scan_seconds: float) -> float:
    """Seconds until a frame that is put through the cameras' mount has its sidecar."""
    time.sleep(number * 0.618 % 1 * scan_seconds)  # frames come at any moment between two scans
    key = make_key(FrameName("yard", datetime.now(UTC), number))
    assert open_store(StoreConfig(frames=str(hosts.cameras.path))).put_frame(key, jpeg(key)) is PutResult.STORED
    closed = time.monotonic()
    while time.monotonic() < closed + DEADLINE_SECONDS:
        found = hosts.client.list_objects_v2(Bucket=hosts.cameras.bucket, Prefix=f"{key}.json").get("Contents", [])
        if found and found[0]["Size"]:
            return time.monotonic() - closed
        time.sleep(A_LOOK)
    pytest.fail(f"{key}: no sidecar")


@pytest.mark.faults(18)
@pytest.mark.parametrize("how", ["killed", "unmounted"])
def test_a_mount_that_goes_away_and_comes_back_is_an_outage(how: str, hosts: Hosts, bucket: Bucket, tmp_path: Path) -> None:
    with worker(hosts.worker.path, tmp_path, "--set", "ingest.scan_seconds=0.3") as running:
        hosts.put("before/1.jpg")
        wait_until(lambda: len(hosts.captioned()) == 1, "the worker does not work")
        if how == "killed":
            hosts.worker.kill()  # every call answers ENOTCONN
        else:
            hosts.worker.end()  # the mount point is an empty directory: nobody's frames, and no place for sidecars
        running.hear("cannot scan")
        for number in range(10):
            hosts.put(f"meanwhile/{number}.jpg")
        hosts.worker.end()
        assert list(hosts.worker.path.iterdir()) == [], "nothing was written below the mount"
        hosts.worker.begin()
        running.hear("scans work again")
        hosts.put("after/1.jpg")
        wait_until(lambda: len(hosts.captioned()) == 12, "frames were lost with the mount")
    check(hosts, 12)
