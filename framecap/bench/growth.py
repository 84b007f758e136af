"""The part of the table about growth: what more cameras, wider beams and a fuller store cost."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from framecap.bench.captioner import Speed
from framecap.bench.children import MeasurementFailed, cpu_seconds, ended, peak_bytes
from framecap.bench.figures import Figure, Mark, Ratio, Section
from framecap.bench.parts import Part, Step, Subject, beside, speed
from framecap.bench.pipeline import Worked, fresh_place, work
from framecap.bench.stores import add_new, fill

_CAMERAS = (1, 16, 64)
_BEAMS = (5, 1, 3, 10)
_STORES = (0, 100_000, 1_000_000)
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


class Growth(Part):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.cameras: defaultdict[int, list[Worked]] = defaultdict(list)
        self.beams: defaultdict[int, list[Speed]] = defaultdict(list)
        self.stores: dict[int, Kept] = {}
        self._pictures = subject.pictures[: max(1, subject.size.frames // 2)]

    def steps(self) -> list[Step]:
        size = self.subject.size
        turn = [Step(f"{count} cameras", partial(self._cameras, count)) for count in _CAMERAS]
        turn += [Step(f"beam {beam}", partial(self._beam, beam)) for beam in _BEAMS]
        stores = [Step(f"{frames:,} finished frames", partial(self._store, frames)) for frames in _STORES]
        return turn * size.runs + (stores if size.full else [])

    def _cameras(self, count: int) -> None:
        self.cameras[count].append(work(self.subject.bench, self._pictures, cameras=count))

    def _beam(self, beam: int) -> None:
        self.beams[beam].append(self.subject.model.captioner(beam))

    def _store(self, frames: int) -> None:
        self.stores[frames] = kept(self.subject, frames)

    def sections(self) -> list[Section]:
        speeds = {count: tuple(one.speed for one in worked) for count, worked in self.cameras.items()}
        cameras = [
            beside(Figure(f"cameras.{count}", f"{count} cameras", "frames/s", speeds[count]), speeds[1], "of one camera")
            for count in _CAMERAS
        ]
        usual = [one.frames for one in self.beams[_BEAMS[0]]]
        beams = [
            beside(speed(f"beam.{beam}", f"beam {beam}", self.beams[beam]), usual, f"of beam {_BEAMS[0]}")
            for beam in sorted(_BEAMS)
        ]
        made = [Section("more cameras, end to end", tuple(cameras)), Section("a wider beam, the captioner", tuple(beams))]
        return [*made, Section("a fuller store (no model)", tuple(self._store_rows()))] if self.stores else made

    def _store_rows(self) -> list[Figure]:
        empty = self.stores[0]
        mark = self.subject.marks.scan_memory
        return [row for frames, found in self.stores.items() for row in _rows(frames, found, empty, mark)]


def _rows(frames: int, found: Kept, empty: Kept, mark: Mark | None) -> list[Figure]:
    name, text = f"store.{frames}", f"{frames:,} finished frames"

    def row(what: str, says: str, unit: str, value: float, of_empty: float) -> Figure:
        ratio = Ratio(value / of_empty, "of an empty one") if frames and of_empty else None
        return Figure(f"{name}.{what}", says, unit, (value,), ratio)

    return [
        row("first", f"{text}: first sidecars", "s", found.first, empty.first),
        row("later", "  a later frame's sidecar", "s", found.later, empty.later),
        row("pass", "  a pass that finds nothing", "CPU-ms", found.idle_cpu_ms, empty.idle_cpu_ms),
        replace(row("memory", "  memory of the worker's process", "MB", found.peak / 1e6, empty.peak / 1e6), mark=mark),
    ]


def kept(subject: Subject, frames: int) -> Kept:
    """Measure a worker without a model on a store of so many finished frames."""
    bench = subject.bench
    place, log = fresh_place(bench), bench.folder / "store-log"
    fill(place, frames)
    new = add_new(place, frames, list(subject.pictures[:16]))
    ingest = {"scan_seconds": _PASS_SECONDS, "hints": "off"}
    settings = bench.settings(captioning={"runtime": "null"}, ingest=ingest)
    started = time.perf_counter()
    with ended(bench.start("work", "--frames", place, "--config", settings, log=log)) as worker:
        _await(new, log)
        first = time.perf_counter() - started
        before, watched = cpu_seconds(worker.pid), time.perf_counter()
        time.sleep(_WATCHED_SECONDS)
        busy = (cpu_seconds(worker.pid) - before) / (time.perf_counter() - watched) * _PASS_SECONDS
        added = time.perf_counter()
        _await(add_new(place, frames + len(new), list(subject.pictures[:1])), log)
        later = time.perf_counter() - added
        found = Kept(first, later, 1000 * busy, peak_bytes(worker.pid))
    shutil.rmtree(place)
    shutil.rmtree(place.with_name(f"{place.name}-files"))
    return found


def _await(sidecars: list[Path], log: Path) -> None:
    deadline = time.monotonic() + _FOUND_SECONDS
    while not all(sidecar.exists() for sidecar in sidecars):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"the worker finds no new frames: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(_LOOK_SECONDS)
