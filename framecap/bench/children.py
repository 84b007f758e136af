"""A configuration in; `framecap` run as a process of its own, and what that cost, out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import framecap
from framecap.config import Config
from framecap.errors import FramecapError

_TAIL = 2000  # characters of what a process said, shown when it fails


class MeasurementFailed(FramecapError):
    """A run that was to be measured did not do its job."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds of a process and its children."""

    seconds: float
    cpu_seconds: float


class ChildResult(NamedTuple):
    """A command that has run: its cost, the largest size that its own process had, in bytes, and the JSON it printed."""

    cost: Cost
    peak: int
    lines: list[dict[str, Any]]


class Bench:
    """A folder for the runs of one benchmark, and the configuration that they share."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        self._settings = 0

    def settings(self, **changes: Any) -> Path:
        """A config.yaml of model and worker, with `changes` to their sections and to ingest; near-duplicates are off."""
        captioning = self.config.captioning.model_dump(mode="json") | changes.get("captioning", {})
        bundle = captioning["bundle"]
        captioning["bundle"] = bundle if bundle == "default" else str(Path(bundle).resolve())
        near_duplicates = {"near_duplicates": {"enabled": False}}
        worker = self.config.worker.model_dump(mode="json") | near_duplicates | changes.get("worker", {})
        self._settings += 1
        path = self.folder / f"config-{self._settings}.yaml"
        sections = {"captioning": captioning, "worker": worker, "ingest": changes.get("ingest", {})}
        path.write_text(yaml.safe_dump(sections))
        return path

    def start(self, *arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """`framecap ARGUMENTS`; both of its outputs go to `log`."""
        return self._start("framecap", *arguments, log=log)

    def _start(self, module: str, *arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str | Path) -> ChildResult:
        """`framecap ARGUMENTS` to its end. Raises MeasurementFailed."""
        log, peak = self.folder / "log", self.folder / "peak"
        started = time.perf_counter()
        process = self._start("framecap.bench.peak", peak, *arguments, log=log)
        cost = wait(process, started)
        if process.returncode:
            output = log.read_text(errors="replace")[-_TAIL:]
            raise MeasurementFailed(f"framecap {arguments[0]} ended with {process.returncode}: {output}")
        return ChildResult(cost, int(peak.read_text()), list(lines_of(log)))


def wait(process: subprocess.Popen[bytes], started: float) -> Cost:
    """Until the process ends."""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(seconds, usage.ru_utime + usage.ru_stime)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which is told to end, and has ended, afterwards."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def proportional_bytes(pid: int) -> int:
    """Of the memory of a process and its descendants; pages that several share are divided among them."""
    held = 0
    for one in _family(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        held += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return held << 10


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            numbers = children.read_text().split()
        except OSError:
            continue
        for child in numbers:
            yield from _family(int(child))


def lines_of(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of JSON in a log."""
    for line in log.read_text(errors="replace").splitlines():
        try:
            output = json.loads(line)
        except ValueError:
            continue
        if isinstance(output, dict):
            yield output


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For a process that is to import this very framecap and to heed only the settings it is given."""
    path = os.pathsep.join(filter(None, (str(Path(framecap.__file__).parents[1]), given.get("PYTHONPATH"))))
    return {name: value for name, value in given.items() if not name.startswith("FRAMECAP__")} | {"PYTHONPATH": path}


def peak_bytes(pid: int) -> int:
    """The largest resident size that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) << 10


def cpu_seconds(pid: int) -> float:
    """That a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
