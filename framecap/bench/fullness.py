"""The part of the table about full stores: what 100,000 and 1,000,000 finished frames cost a worker without a model."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from framecap.bench.children import MeasurementFailed, cpu_seconds, ended, peak_bytes
from framecap.bench.figures import Figure, Ratio, ReportSection
from framecap.bench.parts import Part, Step, Subject
from framecap.bench.pipeline import fresh_folder
from framecap.bench.scans import Passes, passes
from framecap.bench.stores import add_new, fill

_FRAMES = (0, 100_000, 1_000_000)
_NEW = 16
_PASS_SECONDS = 1.0  # between two scans
_WATCHED_SECONDS = 10.0  # of an idle worker
_FOUND_SECONDS = 300.0
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Kept:
    """A worker on a store of so many finished frames: seconds from its start to the sidecars of new ones, and of one that
    comes later; CPU-milliseconds of each pass that finds nothing; its main process's largest size in bytes."""

    first: float
    later: float
    idle_cpu_ms: float
    peak: int


class Fullness(Part):
    """See the module; it takes minutes, so only with --full."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.directories: dict[int, Kept] = {}
        self.buckets: dict[int, Passes] = {}

    def steps(self) -> list[Step]:
        if not self.subject.size.full:
            return []
        directories = [Step(f"{frames:,} finished frames", partial(self._directory, frames)) for frames in _FRAMES]
        return directories + [Step(f"... in a bucket: {frames:,}", partial(self._bucket, frames)) for frames in _FRAMES[1:]]

    def _directory(self, frames: int) -> None:
        self.directories[frames] = kept(self.subject, frames)

    def _bucket(self, frames: int) -> None:
        self.buckets[frames] = passes("bucket", frames, _NEW, fresh_folder(self.subject.bench))

    def sections(self) -> list[ReportSection]:
        if not self.directories:
            return []
        directories = [row for frames in _FRAMES for row in self._directory_rows(frames)]
        buckets = [row for frames in _FRAMES[1:] for row in self._bucket_rows(frames)]
        return [
            ReportSection("a fuller directory, the worker without a model", tuple(directories)),
            ReportSection("a fuller bucket (its lister is a stub), the scan alone", tuple(buckets)),
        ]

    def _directory_rows(self, frames: int) -> list[Figure]:
        found, empty = self.directories[frames], self.directories[0]
        name = f"store.{frames}"

        def row(what: str, says: str, unit: str, value: float, of_empty: float) -> Figure:
            ratio = Ratio(value / of_empty, "of an empty one") if frames and of_empty else None
            return Figure(f"{name}.{what}", says, unit, (value,), ratio)

        memory = row("memory", "  memory of the worker's process", "MB", found.peak / 1e6, empty.peak / 1e6)
        return [
            row("first", f"{frames:,} finished frames: first sidecars", "s", found.first, empty.first),
            row("later", "  a later frame's sidecar, found by a scan", "s", found.later, empty.later),
            row("pass", "  a pass that finds nothing", "CPU-ms", found.idle_cpu_ms, empty.idle_cpu_ms),
            replace(memory, mark=self.subject.marks.scan_memory),
        ]

    def _bucket_rows(self, frames: int) -> list[Figure]:
        found, name = self.buckets[frames], f"bucket.{frames}"
        seconds, requests = found.first.seconds, found.last.requests
        row = Figure(f"{name}.last", f"  a pass that finds {found.new} new ones", "s", (found.last.seconds,))
        row = replace(row, ratio=Ratio(found.last.seconds / seconds, "of the first"), note=f"{requests} requests")
        return [
            Figure(f"{name}.first", f"{frames:,} finished frames: the first pass", "s", (seconds,)),
            row,
            Figure(f"{name}.memory", "  memory", "MB", (found.memory / 1e6,), mark=self.subject.marks.scan_memory),
        ]


def kept(subject: Subject, frames: int) -> Kept:
    """Measure a worker without a model on a directory with so many finished frames."""
    bench = subject.bench
    folder, log = fresh_folder(bench), bench.folder / "store-log"
    fill(folder, frames)
    new = add_new(folder, frames, list(subject.images[:_NEW]))
    ingest = {"scan_seconds": _PASS_SECONDS, "hints": "off"}
    settings = bench.settings(captioning={"runtime": "null"}, ingest=ingest)
    started = time.perf_counter()
    with ended(bench.start("work", "--frames", folder, "--config", settings, log=log)) as worker:
        _await(new, log)
        first = time.perf_counter() - started
        before, watched = cpu_seconds(worker.pid), time.perf_counter()
        time.sleep(_WATCHED_SECONDS)
        busy = (cpu_seconds(worker.pid) - before) / (time.perf_counter() - watched) * _PASS_SECONDS
        added = time.perf_counter()
        _await(add_new(folder, frames + len(new), list(subject.images[:1])), log)
        later = time.perf_counter() - added
        found = Kept(first, later, 1000 * busy, peak_bytes(worker.pid))
    shutil.rmtree(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}-files"))
    return found


def _await(sidecars: list[Path], log: Path) -> None:
    deadline = time.monotonic() + _FOUND_SECONDS
    while not all(sidecar.exists() for sidecar in sidecars):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"the worker finds no new frames: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(_LOOK_SECONDS)
