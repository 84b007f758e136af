"""A worker fed with good and bad frames for seconds or for hours; out come its memory, its open files and its last gauges.

`python -m tests.worker.soak --hours 2 --a-second 4` runs the captioner in the box on this machine and prints the figures;
it exits 1 where the worker grew or leaked. `--samples FILE` keeps each measurement as a line of JSON as it is made.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from framecap.frames import FrameName, make_key
from tests import command
from tests.telemetry.test_server import ask
from tests.worker.fakes import check_oracle
from tests.worker.images import encoded, flipped, huge_png, scene

BAD_SHARE = 0.05
CAMERAS = 8
SAMPLES = 160  # of a run, unless that were more than one each `LONGEST_PAUSE`
LONGEST_PAUSE = 10.0  # seconds
BUDGET_BYTES = 5_000_000  # by which the last quarter may be above the second
BUDGET_FILES = 2


@dataclass(frozen=True)
class Sample:
    """A worker and its decoders at one moment."""

    seconds: float  # since the first sample
    memory: int  # bytes that belong to them alone
    files: int  # open file descriptors
    written: int  # frames, so far
    pending: int


@dataclass(frozen=True)
class Soak:
    """What a run showed."""

    seconds: float
    frames: int
    bad: int
    statuses: dict[str, int]
    memory: tuple[float, float]  # medians of the second quarter and of the last, bytes
    files: tuple[int, int]  # the fewest in the same quarters: a leak raises them, frames just being read do not
    files_at_end: int
    pending_at_end: int
    oldest_pending_seconds: float
    healthy: bool  # /livez and /readyz, at the end
    cpu_share: float  # of one core, the worker and its decoders

    @property
    def steady(self) -> bool:
        grew = self.memory[1] - self.memory[0] >= BUDGET_BYTES or self.files[1] > self.files[0] + BUDGET_FILES
        return not grew and self.healthy and self.pending_at_end == self.oldest_pending_seconds == 0

    def __str__(self) -> str:
        statuses = ", ".join(f"{number:,} {status}" for status, number in sorted(self.statuses.items()))
        return (
            f"{self.frames:,} frames, {self.bad:,} bad, {_spoken(self.seconds)}: {statuses}; "
            f"memory {self.memory[0] / 1e6:.1f} MB in the second quarter, {self.memory[1] / 1e6:.1f} MB in the last; "
            f"open files {self.files[0]} and {self.files[1]}, {self.files_at_end} at the end; "
            f"pending {self.pending_at_end}; {self.cpu_share:.0%} of a core"
        )


class Feeder:
    """Writes frames of several cameras at a steady pace, a twentieth of them bad in one of many ways."""

    def __init__(self, frames: Path, a_second: float) -> None:
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
            key = make_key(FrameName(f"camera-{self.written % CAMERAS}", datetime.now(UTC), self.written))
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


def soak(
    root: Path, seconds: float, a_second: float, runtime: str, heard: Callable[[Sample], None] = lambda one: None
) -> Soak:
    """Run a worker below `root` for `seconds` of feeding, then until nothing is pending; `heard` gets each sample."""
    (root / "frames").mkdir()
    feeder = Feeder(root / "frames", a_second)
    over = threading.Event()
    feeding = threading.Thread(target=feeder.run, args=(over,))
    samples: list[Sample] = []
    with worker(root, runtime) as (process, address):
        family = psutil.Process(process.pid)
        feeding.start()
        try:
            while metric(address, "framecap_frames_total", status="failed") == 0:  # everything was in use once
                over.wait(0.1)
            began, used = time.monotonic(), cpu_seconds(family)
            while (passed := time.monotonic() - began) < seconds:
                samples.append(sample(family, passed, feeder, address))
                heard(samples[-1])
                over.wait(min(seconds / SAMPLES, LONGEST_PAUSE))
            share = (cpu_seconds(family) - used) / (time.monotonic() - began)
        finally:
            over.set()
            feeding.join()
        deadline = time.monotonic() + 60
        while metric(address, "framecap_pending_frames") and time.monotonic() < deadline:
            time.sleep(0.1)
        end = sample(family, time.monotonic() - began, feeder, address)
        oldest = metric(address, "framecap_oldest_pending_seconds")
        healthy = (ask(address, "/livez")[0], ask(address, "/readyz")[0]) == (200, 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1  # some frames failed
    made = check_oracle(root / "frames")
    assert len(made) == feeder.written
    quarter = len(samples) // 4
    parts = (samples[quarter : 2 * quarter], samples[-quarter:])
    return Soak(
        seconds=seconds,
        frames=feeder.written,
        bad=feeder.bad,
        statuses=Counter(one.status for one in made.values()),
        memory=(statistics.median(one.memory for one in parts[0]), statistics.median(one.memory for one in parts[1])),
        files=(min(one.files for one in parts[0]), min(one.files for one in parts[1])),
        files_at_end=end.files,
        pending_at_end=end.pending,
        oldest_pending_seconds=oldest,
        healthy=healthy,
        cpu_share=share,
    )


@contextmanager
def worker(root: Path, runtime: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A worker process and its endpoint. What it says goes to files: a pipe would fill."""
    arguments = ("work", "--runtime", runtime, "--frames", str(root / "frames"), "--metrics-port", "0")
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
        for one in family.samples:
            if one.name == name and labels.items() <= one.labels.items():
                return one.value
    return 0.0


def sample(process: psutil.Process, passed: float, feeder: Feeder, address: str) -> Sample:
    family = [process, *process.children(recursive=True)]
    return Sample(
        round(passed, 1),
        sum(one.memory_full_info().uss for one in family),
        sum(one.num_fds() for one in family),
        feeder.written,
        int(metric(address, "framecap_pending_frames")),
    )


def cpu_seconds(process: psutil.Process) -> float:
    """What the worker and its decoders, those that ended among them, have used."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times) + times[0].children_user + times[0].children_system


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.worker.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="how long frames come (2)")
    parser.add_argument("--a-second", type=float, default=4.0, help="frames a second (4)")
    parser.add_argument("--runtime", default="auto", help="null captions at once (auto: the captioner in the box)")
    parser.add_argument("--samples", type=Path, help="a file to add each sample to, as a line of JSON")
    options = parser.parse_args()

    def keep(one: Sample) -> None:
        if options.samples:
            with options.samples.open("a") as file:
                file.write(json.dumps(asdict(one)) + "\n")

    with tempfile.TemporaryDirectory(prefix="framecap-soak-") as root:
        seen = soak(Path(root), options.hours * 3600, options.a_second, options.runtime, keep)
    print(seen)
    print("steady" if seen.steady else "NOT steady")
    return 0 if seen.steady else 1


if __name__ == "__main__":
    sys.exit(main())
