"""The parts of the table about throughput: the model alone, end to end, the naive loop; what is compared takes turns."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from framecap.bench import gpu, naive
from framecap.bench.captioner import Speed
from framecap.bench.children import Cost
from framecap.bench.figures import Figure, Ratio, ReportSection
from framecap.bench.naive import NaiveLoop, NaiveRun
from framecap.bench.parts import Part, Step, Subject, beside, cpu, rate, speed, times
from framecap.bench.pipeline import PipelineRun, nothing, work

_RUNTIMES: dict[str, dict[str, Any]] = {"model": {}, "null": {"captioning": {"runtime": "null"}}}
_REPORTED = 64  # captions whose words are counted


class Throughput(Part):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.encoder: list[Speed] = []
        self.captioner: list[Speed] = []
        self.starts: defaultdict[str, list[Cost]] = defaultdict(list)
        self.worked: defaultdict[str, list[PipelineRun]] = defaultdict(list)
        self.naive_runs: list[NaiveRun] = []
        self.busy: list[float] = []
        self._with_naive = subject.has("naive") and not naive.missing()
        self._loop: NaiveLoop | None = None

    def open(self, stack: ExitStack) -> None:
        if self._with_naive:
            self._loop = stack.enter_context(NaiveLoop(self.subject.bench, self.subject.device))
            self._loop.run(self.subject.images[:2])  # the first ones take longest

    def steps(self) -> list[Step]:
        turn = [
            Step("encoder", lambda: self.encoder.append(self.subject.model.encoder())),
            Step("captioner", lambda: self.captioner.append(self.subject.model.captioner())),
        ]
        if self.subject.has("pipeline"):
            for name in _RUNTIMES:
                turn.append(Step("start and end", partial(self._start, name)))
                turn.append(Step("end to end", partial(self._work, name)))
        if self._with_naive:
            turn.append(Step("naive loop", self._naive))
        return turn * self.subject.size.runs

    def _start(self, name: str) -> None:
        self.starts[name].append(nothing(self.subject.bench, **_RUNTIMES[name]))

    def _work(self, name: str) -> None:
        model = self.subject.model
        watched = gpu.GpuMonitor(gpu.in_use()) if model.on_gpu and name == "model" else None
        with watched or nullcontext():
            worked = work(self.subject.bench, self.subject.images, rounds=model.rounds, **_RUNTIMES[name])
        self.worked[name].append(worked)
        if watched and (busy := watched.busy(worked.commits)) is not None:
            self.busy.append(busy)
        self.subject.capacity = statistics.median(one.speed for one in self.worked["model"])

    def _naive(self) -> None:
        assert self._loop is not None
        self.naive_runs.append(self._loop.run(self.subject.images[: self.subject.size.naive_frames]))

    def sections(self) -> list[ReportSection]:
        sections = [ReportSection("the model alone", tuple(self._model_rows()))]
        if self.subject.has("pipeline"):
            sections.append(ReportSection("end to end: frames on disk to sidecars on disk", tuple(self._pipeline_rows())))
        if self.subject.has("naive"):
            title = "the naive loop: eager PyTorch, one frame at a time, on the same weights"
            sections.append(ReportSection(title, tuple(self._naive_rows())))
        return sections

    def _model_rows(self) -> list[Figure]:
        beam = self.subject.bench.config.captioning.beam
        alone = [one.frames for one in self.encoder]
        captioner = speed("captioner.speed", f"captioner (encoder, beam {beam})", self.captioner)
        rows = [
            speed("encoder.speed", "encoder alone", self.encoder),
            cpu("encoder.cpu", "its CPU time", self.encoder),
            self._arithmetic(alone),
            beside(replace(captioner, mark=None), alone, "of the encoder"),
            cpu("captioner.cpu", "its CPU time", self.captioner),
            Figure("captioner.words", "words of a caption, on average", "", (self._words(),)),
        ]
        if self.subject.marks.captioner:
            shares = times("captioner.share", "captioner / encoder", captioner.values, alone, self.subject.marks.captioner)
            rows.append(shares)
        return rows

    def _words(self) -> float:
        """What a caption's price depends on: the longer, the more steps."""
        return statistics.mean(len(caption.split()) for caption in self.subject.model.captions(_REPORTED) if caption)

    def _arithmetic(self, alone: Sequence[float]) -> Figure:
        operations = self.subject.model.operations()
        row = rate(
            "encoder.rate", f"its arithmetic ({operations / 1e9:.2f} GFLOP a frame)", [one * operations for one in alone]
        )
        if self.subject.fp32_limit is None:
            return row
        return replace(row, ratio=Ratio(1e9 * row.median / self.subject.fp32_limit, "of the fp32 limit"))

    def _pipeline_rows(self) -> list[Figure]:
        whole, null, marks = self.worked["model"], self.worked["null"], self.subject.marks
        end_to_end = Figure("end_to_end.speed", "end to end", "frames/s", _speeds(whole), mark=marks.end_to_end)
        ours, pipeline = (
            tuple(one.cpu_ms(start) for one, start in zip(self.worked[name], self.starts[name], strict=True))
            for name in _RUNTIMES
        )
        added = tuple(value - alone.cpu_ms for value, alone in zip(ours, self.captioner, strict=True))
        no_model = Figure("pipeline.speed", "pipeline alone (no model)", "frames/s", _speeds(null))
        memory = tuple(one.peak / 1e6 for one in whole)
        rows = [
            beside(end_to_end, [one.frames for one in self.captioner], "of the captioner"),
            reported(Figure("end_to_end.cpu", "its CPU time", "CPU-ms/frame", ours, note="without that of start and end")),
            reported(Figure("pipeline.added", "... that the pipeline adds", "CPU-ms/frame", added, mark=marks.added)),
            beside(no_model, end_to_end.values, "of end to end"),
            reported(Figure("pipeline.cpu", "its CPU time", "CPU-ms/frame", pipeline)),
            Figure("end_to_end.memory", "memory of the worker", "MB", memory, note="its main process"),
        ]
        if self.busy:
            row = Figure("gpu.busy", "the GPU is busy", "of the time", tuple(self.busy), mark=marks.gpu_busy)
            rows.append(replace(row, note="without each run's first and last tenth"))
        return rows

    def _naive_rows(self) -> list[Figure]:
        marks, model = self.subject.marks, self.subject.model
        if not self.naive_runs:
            return [Figure("naive.captioner", "captioner / naive loop", mark=marks.naive, note=naive.missing())]
        alone = tuple(one.speed for one in self.naive_runs)
        ours = [one.frames for one in self.captioner]
        rows = [
            Figure("naive.speed", "naive loop, decoding skipped", "frames/s", alone),
            times("naive.captioner", "captioner / naive loop", ours, alone, marks.naive),
        ]
        if self.subject.has("pipeline"):
            theirs = [one.whole_speed for one in self.naive_runs]
            mark = None if model.on_gpu else marks.naive  # the mark of a GPU is the captioner's
            text = "end to end / naive loop with decoding"
            rows.append(times("naive.end_to_end", text, _speeds(self.worked["model"]), theirs, mark))
        output = self.naive_runs[0].captions
        same = [one == other for one, other in zip(model.captions(len(output)), output, strict=True)]
        part, note = sum(same) / len(same), f"{sum(same)} of {len(same)}"
        rows.append(Figure("naive.same", "captions that are the same", "", (part,), mark=marks.same, note=note))
        return rows


def reported(figure: Figure) -> Figure:
    """A start's CPU time, which varies, was taken off: where that leaves less than nothing, nothing is told."""
    return figure if min(figure.values, default=0.0) >= 0 else replace(figure, values=(), note="too few frames to tell")


def _speeds(worked: Sequence[PipelineRun]) -> tuple[float, ...]:
    return tuple(one.speed for one in worked)
