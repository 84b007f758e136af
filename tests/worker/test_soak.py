"""A worker over a long time, with bad input among the good (row 35): it neither grows nor leaks, and leaves nothing."""

from __future__ import annotations

import random
import re
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from framecap.frames import FrameName, make_key
from tests import command
from tests.telemetry.test_server import ask
from tests.worker.fakes import check_oracle
from tests.worker.pictures import encoded, flipped, huge_png, scene

BAD_SHARE = 0.05
ROOM_BYTES = 5_000_000  # by which the last quarter may be above the second


@dataclass(frozen=True)
class Sample:
    """A worker and its decoders at one moment."""

    memory: int  # bytes that belong to them alone
    files: int


@contextmanager
def worker(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A worker process and its endpoint. What it says goes to files: a pipe would fill."""
    arguments = ("work", "--runtime", "null", "--frames", str(root / "frames"), "--metrics-port", "0")
    settings = ("--set", "ingest.settle_seconds=0.5", "--set", "log.level=info")
    with (root / "out").open("w") as out, (root / "log").open("w") as log:
        process = subprocess.Popen(
            [*command.COMMAND, *arguments, *settings], cwd=root, env=command.environment(), stdout=out, stderr=log, text=True
        )
        try:
            yield process, address_of(root / "log")
        finally:
            process.kill()
            process.wait()


def address_of(log: Path) -> str:
    deadline = time.monotonic() + 30
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[0]


def metric(address: str, name: str, **labels: str) -> float:
    """A sample of /metrics."""
    status, page = ask(address, "/metrics")
    assert status == 200
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


class Feeder:
    """Writes frames of several cameras at a steady pace, a twentieth of them bad in one of many ways."""

    def __init__(self, frames: Path, a_second: int) -> None:
        self._frames = frames
        self._pause = 1 / a_second
        self._choose = random.Random(35)
        self._good = [encoded(scene(160, 120, seed)) for seed in range(20)]
        self._huge = huge_png(10_001)
        self.written = self.bad = 0

    def run(self, until: threading.Event) -> None:
        due = time.monotonic()
        while not until.is_set():
            is_bad = self._choose.random() < BAD_SHARE
            key = make_key(FrameName(f"camera-{self.written % 8}", datetime.now(UTC), self.written))
            path = self._frames / key
            path.parent.mkdir(parents=True, exist_ok=True)
            hidden = path.with_name(f".{path.name}")
            hidden.write_bytes(self._bad() if is_bad else self._choose.choice(self._good))
            hidden.rename(path)
            self.written += 1
            self.bad += is_bad
            due += self._pause
            until.wait(max(0.0, due - time.monotonic()))

    def _bad(self) -> bytes:
        good = self._choose.choice(self._good)
        kinds = (
            lambda: good[: self._choose.randrange(len(good) - 1)],
            lambda: b"",
            lambda: b"<html>not found</html>",
            lambda: self._huge,
            lambda: self._choose.randbytes(5000),
            lambda: flipped(good, self._choose.randrange(10**6))[:-2],
        )
        return self._choose.choice(kinds)()


def sample(process: psutil.Process) -> Sample:
    family = [process, *process.children(recursive=True)]
    return Sample(sum(one.memory_full_info().uss for one in family), sum(one.num_fds() for one in family))


@pytest.mark.faults(35)
def test_a_worker_neither_grows_nor_leaks(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    seconds, a_second = (600, 60) if full else (16, 60)
    (tmp_path / "frames").mkdir()
    feeder = Feeder(tmp_path / "frames", a_second)
    over = threading.Event()
    feeding = threading.Thread(target=feeder.run, args=(over,))
    samples: list[Sample] = []
    with worker(tmp_path) as (process, address):
        feeding.start()
        try:
            while metric(address, "framecap_frames_total", status="failed") == 0:  # everything was in use once
                time.sleep(0.1)
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                samples.append(sample(psutil.Process(process.pid)))
                time.sleep(seconds / 160)
        finally:
            over.set()
            feeding.join()
        deadline = time.monotonic() + 30
        while metric(address, "framecap_pending_frames"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert metric(address, "framecap_oldest_pending_seconds") == 0
        assert (ask(address, "/livez")[0], ask(address, "/readyz")[0]) == (200, 200)
        files = sample(psutil.Process(process.pid)).files
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1  # some frames failed
    made = check_oracle(tmp_path / "frames")
    assert len(made) == feeder.written
    assert sum(one.status == "failed" for one in made.values()) == pytest.approx(feeder.bad, rel=0.2)
    quarter = len(samples) // 4
    second, last = (
        statistics.median(one.memory for one in part) for part in (samples[quarter : 2 * quarter], samples[-quarter:])
    )
    # the fewest: a leak raises them, and frames that are just being read or written do not
    fewest = [min(one.files for one in part) for part in (samples[quarter : 2 * quarter], samples[-quarter:])]
    figure(
        f"{feeder.written} frames, {feeder.bad} bad, {seconds} s: memory {second / 1e6:.1f} MB in the second quarter, "
        f"{last / 1e6:.1f} MB in the last; open files {fewest[0]} and {fewest[1]}, {files} at the end"
    )
    assert last - second < ROOM_BYTES
    assert fewest[1] <= fewest[0] + 2
