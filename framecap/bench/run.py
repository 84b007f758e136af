"""A configuration and a size in; every part measured, turn by turn, and its sections of figures out."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from framecap.bench import machine, naive, start_up
from framecap.bench.captioner import Model, Speed
from framecap.bench.children import Bench, Cost
from framecap.bench.figures import Figure, Mark, Ratio, Section, paired_ratio, percentile
from framecap.bench.latency import latencies, running_worker
from framecap.bench.marks import Marks
from framecap.bench.naive import NaiveLoop, NaiveRun
from framecap.bench.pictures import make_pictures
from framecap.bench.pipeline import Worked, nothing, work
from framecap.config import Config

Result = TypeVar("Result")

_RUNTIMES: dict[str, dict[str, Any]] = {"model": {}, "null": {"captioning": {"runtime": "null"}}}
PARTS = ("machine", "captioner", "pipeline", "naive", "latency", "start")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    frames: int = 500  # of a throughput run
    runs: int = 3
    naive_frames: int = 24
    full: bool = False
    parts: tuple[str, ...] = PARTS


class Progress:
    """A bar of the measurements; each says what it is."""

    def __init__(self, total: int) -> None:
        self._bar: tqdm[Any] = tqdm(total=total, unit=" runs", disable=None, leave=False, dynamic_ncols=True)

    def run(self, what: str, measure: Callable[[], Result]) -> Result:
        self._bar.set_description(what)
        result = measure()
        self._bar.update()
        return result

    def close(self) -> None:
        self._bar.close()


def measure(config: Config, size: Size, source: Path | None, folder: Path) -> tuple[list[str], list[Section]]:
    """The table's head and its sections; `folder` is empty, and on the disk that is to be measured."""
    pictures = make_pictures(folder / "pictures", size.frames, source)
    bench = Bench(folder, config)
    model = Model(config, pictures)
    card = model.bundle.card
    marks = Marks.of(machine.cores(), model.on_gpu, card.name, card.encoder.name, config.captioning.beam)
    return _Run(bench, model, marks, size, pictures).sections()


class _Run:
    def __init__(self, bench: Bench, model: Model, marks: Marks, size: Size, pictures: Sequence[Path]) -> None:
        self.bench, self.model, self.marks, self.size, self.pictures = bench, model, marks, size, pictures
        self.progress = Progress(self._steps())
        self.speeds: defaultdict[str, list[Speed]] = defaultdict(list)
        self.worked: defaultdict[str, list[Worked]] = defaultdict(list)
        self.starts: defaultdict[str, list[Cost]] = defaultdict(list)
        self.naive_runs: list[NaiveRun] = []

    def sections(self) -> tuple[list[str], list[Section]]:
        try:
            made = [
                section
                for part, of_part in {
                    "machine": self._machine,
                    "captioner": self._throughput,
                    "latency": self._latency,
                    "start": self._start,
                }.items()
                if part in self.size.parts
                for section in of_part()
            ]
        finally:
            self.progress.close()
        return self._head(), made

    def _has(self, part: str) -> bool:
        return part in self.size.parts

    def _steps(self) -> int:
        per_run = 2 + 4 * self._has("pipeline") + (self._has("naive") and not naive.missing())
        return int(self._has("machine") + self.size.runs * per_run + 2 * self._has("latency") + 2 * self._has("start"))

    def _head(self) -> list[str]:
        config, bundle = self.bench.config, self.model.bundle
        kilobytes = statistics.mean(path.stat().st_size for path in self.pictures) / 1000
        return [
            f"{machine.describe()}; bundle {bundle.card.name} ({bundle.card.encoder.name}), {self.model.runtime.name}, "
            f"beam {config.captioning.beam}, batches of {config.worker.batch_size}",
            f"{len(self.pictures)} JPEGs of 640x480 and {kilobytes:.0f} kB; medians of {self.size.runs} runs, least to most",
        ]

    # This machine

    def _machine(self) -> list[Section]:
        device = "cuda" if self.model.on_gpu else "cpu"
        self.peak = self.progress.run("matrix products", lambda: machine.measure_peaks(device))
        rows = [_rate("machine.fp32", "matrix product, fp32", self.peak.fp32)]
        bf16 = _rate("machine.bf16", "matrix product, bf16", self.peak.bf16, self.peak.missing)
        rows.append(_beside(bf16, self.peak.bf16, self.peak.fp32, "of fp32"))
        if self.peak.copy:
            rows.append(Figure("machine.copy", "copy in the GPU's memory", "GB/s", _scaled(self.peak.copy, 1e-9)))
        return [Section("this machine", tuple(rows))]

    # Throughput: everything that is compared takes turns

    def _throughput(self) -> list[Section]:
        with ExitStack() as stack:
            loop = None
            if self._has("naive") and not naive.missing():
                device = "cuda" if self.model.on_gpu else "cpu"
                loop = stack.enter_context(NaiveLoop(self.bench, device))
                loop.run(self.pictures[:2])  # the first ones take longest
            for _ in range(self.size.runs):
                self._one_turn(loop)
        sections = [Section("the model alone", tuple(self._model_rows()))]
        if self._has("pipeline"):
            sections.append(Section("end to end: frames on disk to sidecars on disk", tuple(self._pipeline_rows())))
        if self._has("naive"):
            title = "the naive loop: eager PyTorch, one frame at a time, on the same weights"
            sections.append(Section(title, tuple(self._naive_rows())))
        return sections

    def _one_turn(self, loop: NaiveLoop | None) -> None:
        run = self.progress.run
        self.speeds["encoder"].append(run("encoder", self.model.encoder))
        self.speeds["captioner"].append(run("captioner", self.model.captioner))
        if self._has("pipeline"):
            for name, changes in _RUNTIMES.items():
                start = run("start and end", partial(nothing, self.bench, **changes))
                self.starts[name].append(start)
                worked = run("end to end", partial(work, self.bench, self.pictures, **changes))
                self.worked[name].append(worked)
        if loop is not None:
            naive_pictures = self.pictures[: self.size.naive_frames]
            self.naive_runs.append(run("naive loop", lambda: loop.run(naive_pictures)))

    def _model_rows(self) -> list[Figure]:
        encoder, captioner = self.speeds["encoder"], self.speeds["captioner"]
        rows = [
            _speed("encoder.speed", "encoder alone", encoder),
            _cpu("encoder.cpu", "its CPU time", encoder),
            *self._share(encoder),
        ]
        found = _beside(
            _speed("captioner.speed", f"captioner (encoder, beam {self.bench.config.captioning.beam})", captioner),
            [one.frames for one in captioner],
            [one.frames for one in encoder],
            "of the encoder",
        )
        rows += [found, _cpu("captioner.cpu", "its CPU time", captioner)]
        if self.marks.captioner and found.ratio:
            text = "captioner / encoder"
            rows.append(Figure("captioner.share", text, "", (found.ratio.value,), mark=self.marks.captioner))
        return rows

    def _share(self, encoder: Sequence[Speed]) -> list[Figure]:
        operations = self.model.operations()
        reached = [one.frames * operations for one in encoder]
        row = _rate("encoder.rate", f"its arithmetic ({operations / 1e9:.2f} GFLOP a frame)", reached)
        if not self._has("machine"):
            return [row]
        limit = statistics.median(self.peak.fp32)
        return [_ratio(row, statistics.median(reached) / limit, "of the fp32 limit")]

    def _pipeline_rows(self) -> list[Figure]:
        whole, null, captioner = self.worked["model"], self.worked["null"], self.speeds["captioner"]
        speed = Figure(
            "end_to_end.speed",
            "end to end",
            "frames/s",
            tuple(one.speed for one in whole),
            mark=self.marks.end_to_end,
        )
        cpu, null_cpu = (
            tuple(one.cpu_ms(start) for one, start in zip(self.worked[name], self.starts[name], strict=True))
            for name in _RUNTIMES
        )
        added = tuple(value - alone.cpu_ms for value, alone in zip(cpu, captioner, strict=True))
        return [
            _beside(speed, speed.values, [one.frames for one in captioner], "of the captioner"),
            Figure("end_to_end.cpu", "its CPU time", "CPU-ms/frame", cpu, note="the start left out"),
            Figure("pipeline.added", "... that the pipeline adds", "CPU-ms/frame", added, mark=self.marks.added),
            _beside(
                Figure("pipeline.speed", "pipeline alone (no model)", "frames/s", tuple(one.speed for one in null)),
                [one.speed for one in null],
                speed.values,
                "of end to end",
            ),
            Figure("pipeline.cpu", "its CPU time", "CPU-ms/frame", null_cpu),
            Figure(
                "end_to_end.memory",
                "memory of the worker",
                "MB",
                tuple(one.cost.resident / 1e6 for one in whole),
                note="its largest process",
            ),
        ]

    def _naive_rows(self) -> list[Figure]:
        if not self.naive_runs:
            return [Figure("naive.speed", "naive loop", mark=self.marks.naive, note=naive.missing())]
        speeds = tuple(one.speed for one in self.naive_runs)
        ours = [one.frames for one in self.speeds["captioner"]]
        rows = [
            Figure("naive.speed", "naive loop, decoding left out", "frames/s", speeds),
            _times("naive.captioner", "captioner / naive loop", ours, speeds, self.marks.naive),
        ]
        if self._has("pipeline"):
            ends = [one.speed for one in self.worked["model"]]
            whole = [one.whole_speed for one in self.naive_runs]
            mark = None if self.model.on_gpu else self.marks.naive
            rows.append(_times("naive.end_to_end", "end to end / naive loop with decoding", ends, whole, mark))
        theirs = self.naive_runs[0].captions
        same = [one == other for one, other in zip(self.model.captions(len(theirs)), theirs, strict=True)]
        note = f"{sum(same)} of {len(same)}"
        rows.append(
            Figure("naive.same", "captions that are the same", "", (sum(same) / len(same),), None, self.marks.same, note)
        )
        return rows

    # How soon

    def _latency(self) -> list[Section]:
        capacity = statistics.median(one.speed for one in self.worked["model"]) if self.worked["model"] else None
        plan = [(1.0, 100), (10.0, 300), (50.0, 1500)] if self.size.full else [(1.0, 15), (10.0, 100)]
        rows = []
        with running_worker(self.bench, self.pictures) as place:
            if self.size.full and capacity:
                plan.append((0.8 * capacity, int(16 * capacity)))
            for rate, count in plan:
                named = f"{rate:g} frames/s" if rate in (1, 10, 50) else f"80% of capacity ({rate:.0f} frames/s)"
                found = self.progress.run(f"latency at {rate:.0f}/s", partial(latencies, place, self.pictures, rate, count))
                milliseconds = [1000 * one for one in found]
                middle, most, nearly = (percentile(milliseconds, part) for part in (0.5, 0.95, 0.99))
                note = f"p95 {most:.0f}, p99 {nearly:.0f}, most {max(milliseconds):.0f} ms; {count} frames"
                rows.append(Figure(f"latency.{rate:.0f}", f"at {named}, p50", "ms", (middle,), note=note))
        return [Section("from a frame's close to its readable sidecar", tuple(rows))]

    # How soon it starts

    def _start(self) -> list[Section]:
        marks, runs = self.marks, range(self.size.runs)
        helped = self.progress.run("--help", lambda: tuple(start_up.help_seconds() for _ in range(5)))
        ready = self.progress.run("work gets ready", lambda: tuple(start_up.ready_seconds(self.bench) for _ in runs))
        rows = [
            Figure("start.help", "framecap --help", "s", helped, mark=marks.help),
            Figure("start.ready", "framecap work is ready", "s", ready, mark=marks.ready),
        ]
        megabytes = start_up.installed_bytes() / 1e6
        rows.append(Figure("start.installed", "base installation", "MB", (megabytes,), mark=marks.installed))
        return [Section("start", tuple(rows))]


def _scaled(values: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in values)


def _rate(name: str, text: str, values: Sequence[float], note: str = "") -> Figure:
    return Figure(name, text, "GFLOP/s", _scaled(values, 1e-9), note=note)


def _speed(name: str, text: str, speeds: Sequence[Speed]) -> Figure:
    return Figure(name, text, "frames/s", tuple(one.frames for one in speeds))


def _cpu(name: str, text: str, speeds: Sequence[Speed]) -> Figure:
    return Figure(name, text, "CPU-ms/frame", tuple(one.cpu_ms for one in speeds))


def _ratio(figure: Figure, value: float, to: str) -> Figure:
    return Figure(figure.name, figure.text, figure.unit, figure.values, Ratio(value, to), figure.mark, figure.note)


def _beside(figure: Figure, values: Sequence[float], others: Sequence[float], to: str) -> Figure:
    return _ratio(figure, paired_ratio(values, others), to) if values and others else figure


def _times(name: str, text: str, ours: Sequence[float], theirs: Sequence[float], mark: Mark | None) -> Figure:
    return Figure(name, text, "times", tuple(own / other for own, other in zip(ours, theirs, strict=True)), mark=mark)
