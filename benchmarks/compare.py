"""python -m benchmarks.compare BASE: two versions of framecap in; whether this one is slower, and by how much, out.

The version of the commit BASE is checked out beside this one, and both caption the same images on this machine, taking
turns (A B, B A, ...), with this Python and its packages. Three figures, each by the median of the pairs' ratios:

- end to end: wall seconds of `framecap work --once`, by its own clock;
- end to end: CPU time of that process and its children, without what they use where there are no frames;
- the pipeline alone: the same without a model (runtime null): a slower pipeline could hide behind the model.

Wall seconds change with what else the machine does, CPU time hardly. Exit code 1: one of them grew by --limit or more, and
grew in most of the pairs; 2: wrong use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from tqdm import tqdm

from framecap.bench.children import environment, wait
from framecap.bench.images import make_images

ROOT = Path(__file__).parents[1]
RUNTIMES = ("auto", "null")
STARTS = 3  # runs without frames; the least counts
LIMIT = 1.12  # between "as fast" and the 20% that must be caught: both are far enough from it


@dataclass(frozen=True, slots=True)
class Run:
    """Wall seconds by the worker's own clock; CPU seconds of all of it."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many times as long this version takes as the other: the pairs' ratios."""

    what: str
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def slower(self, limit: float) -> bool:
        """By `limit` in the median, and slower at all in most pairs: one bad run is no verdict."""
        most = sum(ratio > 1 for ratio in self.ratios) > len(self.ratios) / 2
        return self.median >= limit and most

    def line(self, limit: float) -> str:
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}"
        output = f"SLOWER by {100 * (self.median - 1):.0f}%" if self.slower(limit) else "ok"
        return f"  {self.what:32} {self.median:.3f} times the base's ({spread})  {output}"


@contextmanager
def checked_out(base: str) -> Iterator[Path]:
    """The tree of a commit, in a folder that is gone afterwards. Raises SystemExit for what is no commit."""
    with tempfile.TemporaryDirectory(prefix="framecap-base-") as folder:
        tree = Path(folder) / "tree"
        added = _git("worktree", "add", "--detach", str(tree), base)
        if added.returncode:
            print(f"benchmarks.compare: {base}: no such commit: {added.stderr.strip()}", file=sys.stderr)
            raise SystemExit(2)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def run(tree: Path, runtime: str, image_files: Sequence[Path], folder: Path, bundle: str) -> Run:
    """`framecap work --once` of the version in `tree`, on fresh links to the images."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        frames_folder = Path(name) / "frames"
        frames_folder.mkdir()
        for image in image_files:
            os.link(image, frames_folder / image.name)
        settings = Path(name) / "config.yaml"
        settings.write_text(yaml.safe_dump({"captioning": {"runtime": runtime, "bundle": bundle}}))
        log = Path(name) / "log"
        with log.open("wb") as out:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "framecap", "work", "--once", "--frames", frames_folder, "--config", settings],
                cwd=name,
                env=environment() | {"PYTHONPATH": str(tree)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            cost = wait(process, started)
        lines = [json.loads(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
        done = next((line for line in reversed(lines) if "captioned" in line and "seconds" in line), None)
        if process.returncode or done is None or done["captioned"] != len(image_files):
            raise SystemExit(f"benchmarks.compare: {tree}: not all frames were captioned: {log.read_text()[-1000:]}")
        return Run(done["seconds"], cost.cpu_seconds)


def compare(base: Path, ours: Path, image_files: Sequence[Path], folder: Path, pairs: int, bundle: str) -> list[Verdict]:
    """Both in turn, the first to go changing from pair to pair."""
    ratios: defaultdict[str, list[float]] = defaultdict(list)
    start: dict[tuple[Path, str], float] = {}
    for runtime in RUNTIMES:
        for tree in (base, ours):
            run(tree, runtime, image_files[:16], folder, bundle)  # what is read for the first time takes longer
        for tree in (base, ours):
            start[tree, runtime] = min(run(tree, runtime, [], folder, bundle).cpu for _ in range(STARTS))
    with tqdm(total=pairs * len(RUNTIMES), unit="pair", disable=None, leave=False) as progress:
        for pair in range(pairs):
            for runtime in RUNTIMES:
                order = (base, ours) if pair % 2 == 0 else (ours, base)
                found = {tree: run(tree, runtime, image_files, folder, bundle) for tree in order}
                what = "end to end" if runtime == "auto" else "pipeline alone"
                if runtime == "auto":
                    ratios[f"{what}, wall"].append(found[ours].wall / found[base].wall)
                cpu, of_base = (found[tree].cpu - start[tree, runtime] for tree in (ours, base))
                ratios[f"{what}, CPU time"].append(cpu / of_base)
                progress.update()
    return [Verdict(what, tuple(values)) for what, values in ratios.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("base", metavar="BASE", help="the commit to compare with, such as HEAD~1 or main")
    parser.add_argument("--frames", metavar="N", type=int, default=400, help="images of a run (400)")
    parser.add_argument("--pairs", metavar="N", type=int, default=5, help="runs of each version (5)")
    parser.add_argument("--limit", metavar="X", type=float, default=LIMIT, help=f"times that are too slow ({LIMIT})")
    parser.add_argument("--bundle", metavar="DIR", default="default", help="the bundle (default: the bundled model)")
    parser.add_argument("--tree", metavar="DIR", type=Path, default=ROOT, help="the version to judge (default: this one)")
    options = parser.parse_args(arguments)
    if options.frames < 1 or options.pairs < 1:
        parser.error("--frames and --pairs: at least 1 is expected")
    with tempfile.TemporaryDirectory(prefix="framecap-compare-") as name, checked_out(options.base) as base:
        folder = Path(name)
        image_files = make_images(folder / "images", options.frames)
        verdicts = compare(base, options.tree.resolve(), image_files, folder, options.pairs, options.bundle)
    print(f"{options.pairs} pairs of {options.frames} frames, this version beside {options.base}, medians (least to most):")
    print(*(verdict.line(options.limit) for verdict in verdicts), sep="\n")
    return int(any(verdict.slower(options.limit) for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
