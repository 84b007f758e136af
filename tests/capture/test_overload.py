"""A camera that is faster than its store, and a store that is ten times faster than captioning (row 25)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import mean

import psutil
import pytest

from framecap.frames import parse_key
from tests import command
from tests.capture.mjpeg_camera import MjpegCamera
from tests.capture.running import eventually
from tests.worker.fakes import check_oracle

CAMERA, STORED, CAPTIONED = 40.0, 20.0, 2.0  # frames a second
BATCH = 4  # of tests/worker/driver.py
ON_THE_WAY = 100  # images that can be in sockets and pipes when all is stopped
FLAT = 0.05
KNOWN = 1000  # bytes of a worker's memory for each pending frame: its ingest knows them all


@contextmanager
def python(output: Path, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A module as a process; what it prints is in a file: nobody reads a pipe meanwhile."""
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], stdout=file, env=command.environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Memory:
    """What a process and its children hold over time, each on its own, files and shared memory not counted."""

    def __init__(self, root: int) -> None:
        top = psutil.Process(root)
        self._held: dict[psutil.Process, list[int]] = {each: [] for each in (top, *top.children(recursive=True))}

    def look(self) -> None:
        for process, held in self._held.items():
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_info()
                held.append(memory.rss - memory.shared)

    def growth(self, expected: float = 0.0) -> float:
        """The worst, from the second quarter to the last, as a part; `expected` bytes are not counted."""
        quarters = [(held, len(held) // 4) for held in self._held.values()]
        return max((mean(held[-n:]) - expected) / mean(held[n : 2 * n]) - 1 for held, n in quarters)


@pytest.mark.faults(25)
@pytest.mark.long(10)
def test_capture_ten_times_faster_than_captioning(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    seconds = 600.0 if full else 6.0
    frames = tmp_path / "frames"
    camera = MjpegCamera(fps=CAMERA)
    try:
        with (
            python(tmp_path / "worker", "tests.worker.driver", frames, BATCH / CAPTIONED, 30) as worker,
            python(tmp_path / "capture", "tests.capture.slow_store", camera.url(), frames, 1 / STORED) as capture,
        ):
            eventually(lambda: any(frames.rglob("*.json")), 60)
            begin, of_capture, of_worker = time.monotonic(), Memory(capture.pid), Memory(worker.pid)
            while time.monotonic() < begin + seconds:
                of_capture.look()
                of_worker.look()
                time.sleep(seconds / 40)
            capture.terminate()
            assert capture.wait(60) == 0
            summary = json.loads((tmp_path / "capture").read_text().splitlines()[-1])
    finally:
        camera.close()
    names = [name for path in frames.rglob("*.jpg") if (name := parse_key(path.relative_to(frames).as_posix()))]
    done = list(frames.rglob("*.json"))
    captured, dropped = summary["captured"], summary["dropped"]

    status = json.loads(command.run("status", "--frames", frames, "--json", cwd=tmp_path).stdout)
    assert captured == len(names) == len(done) + status["pending"]
    assert status["pending"] > 4 * len(done)

    assert captured + dropped["drop_oldest"] == max(name.sequence for name in names) + 1, "each that came is counted"
    assert dropped.keys() <= {"drop_oldest", "stale"}
    assert dropped["drop_oldest"] > 0.2 * captured
    on_the_way = camera.count - captured - sum(dropped.values())
    assert 0 <= on_the_way < ON_THE_WAY

    growth = of_capture.growth()
    growth_of_worker = of_worker.growth(expected=KNOWN * status["pending"] / 2)
    assert max(growth, growth_of_worker) < FLAT, (growth, growth_of_worker)
    done_only = tmp_path / "done"
    for path in done:
        here = done_only / path.relative_to(frames)
        here.parent.mkdir(parents=True, exist_ok=True)
        path.rename(here)
        path.with_suffix("").rename(here.with_suffix(""))
    assert len(check_oracle(done_only)) == len(done)
    figure(
        f"{seconds:.0f} s: {camera.count} taken = {captured} captured + {dropped['drop_oldest']} dropped for room + "
        f"{dropped.get('stale', 0)} stale + {on_the_way} on the way; captured = {len(done)} done + "
        f"{status['pending']} pending; memory of capture grew by {growth:.1%}, the worker's, but for {KNOWN} bytes for each "
        f"pending frame, by {growth_of_worker:.1%}"
    )
