"""A configuration and a size in; every part measured, and the table's head and sections out."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from framecap.bench import FRAMES, RUNS, machine
from framecap.bench.captioner import MeasuredCaptioner
from framecap.bench.children import Bench
from framecap.bench.figures import ReportSection
from framecap.bench.fullness import Fullness
from framecap.bench.growth import Growth
from framecap.bench.images import make_images
from framecap.bench.latency import Latency
from framecap.bench.limits import Limits
from framecap.bench.near_duplicates import NearDuplicatesBenchmark
from framecap.bench.parts import Part, Size, Subject
from framecap.bench.start import Start
from framecap.bench.targets import Targets
from framecap.bench.throughput import Throughput
from framecap.config import Config

_ORDER: dict[type[Part], set[str]] = {  # and which of the parts a user can name each one measures
    Limits: {"machine"},
    Throughput: {"captioner", "pipeline", "naive"},
    Latency: {"latency"},
    Growth: {"growth"},
    Fullness: {"growth"},
    NearDuplicatesBenchmark: {"near-duplicates"},
    Start: {"start"},
}


def measure(config: Config, size: Size, source: Path | None, folder: Path) -> tuple[list[str], list[ReportSection]]:
    """The table's head and its sections; `folder` is empty, and on the disk that is to be measured."""
    image_files = make_images(folder / "images", size.frames, source)
    model = MeasuredCaptioner(config, image_files)
    fitting = Targets.of(machine.cores(), model.on_gpu, model.bundle.card, model.runtime.name, config.captioning.beam)
    marks = fitting if size.enough else Targets.none()
    subject = Subject(Bench(folder, config), model, marks, size, image_files)
    parts = [part(subject) for part, named in _ORDER.items() if named & set(size.parts)]
    total = sum(len(part.steps()) for part in parts)
    with tqdm(total=total, unit="run", disable=None, leave=False, dynamic_ncols=True) as progress:
        for part in parts:
            _measure(part, progress)
    return _head(subject), [section for part in parts for section in part.sections()]


def _measure(part: Part, progress: tqdm[Any]) -> None:
    with ExitStack() as stack:
        part.open(stack)
        for step in part.steps():
            progress.set_description(step.what)
            step.measure()
            progress.update()


def _head(subject: Subject) -> list[str]:
    config, bundle, image_files = subject.bench.config, subject.model.bundle, subject.images
    kilobytes = statistics.mean(path.stat().st_size for path in image_files) / 1000
    head = [
        f"{machine.describe()}; bundle {bundle.card.name} ({bundle.card.encoder.name}), {subject.model.runtime.name}, "
        f"beam {config.captioning.beam}, batches of {subject.model.batch_size}",
        f"{len(image_files)} JPEGs of 640x480 and {kilobytes:.0f} kB; medians of {subject.size.runs} runs, least to most",
    ]
    if not subject.size.enough:
        head.append(f"too few frames or runs for a mark: take at least --frames {FRAMES} --runs {RUNS}, the defaults")
    return head
