"""python -m benchmarks: this machine in; throughput, latency and what the pipeline adds to the captioner out, as a table."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framecap.captioning.load import load_captioner
from framecap.captioning.preprocess import Preprocessing, decode
from framecap.config import CaptioningConfig

CLIP = Path(__file__).parents[1] / "samples" / "clip.mp4"
BATCH = 16  # the worker's
WORK = (sys.executable, "-m", "framecap", "work")
MAX_PIXELS = 10**8

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="frames of a throughput run (1000)")
    parser.add_argument("--runs", type=int, default=3, help="runs; medians are printed (3)")
    parser.add_argument("--latency-frames", type=int, default=20, help="frames at one a second (20)")
    parser.add_argument("--bundle", default="default", help="the bundle to measure (default)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framecap-bench-") as folder:
        frames = make_frames(Path(folder) / "source", options.frames)
        with tqdm(total=2 * options.runs + 1, desc="runs", unit="run") as progress:
            bare, whole = [], []
            for run in range(options.runs):  # alternating, so that the machine's moods hit both
                bare.append(_told(progress, lambda: bare_captioner(frames, options.bundle)))
                place = Path(folder) / f"run-{run}"
                whole.append(_told(progress, lambda place=place: end_to_end(frames, place, options.bundle)))
            seconds = _told(
                progress, lambda: latencies(frames[: options.latency_frames], Path(folder) / "l", options.bundle)
            )
    print(report(bare, whole, seconds))


def _told(progress: tqdm[None], run: Callable[[], Result]) -> Result:
    result = run()
    progress.update()
    return result


def make_frames(folder: Path, count: int) -> list[Path]:
    """640x480 JPEGs from the shipped clip, each cut and lit differently, so that no two are the same."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    source = cv2.VideoCapture(str(CLIP))
    pictures: list[npt.NDArray[np.uint8]] = []
    while (read := source.read())[0]:
        pictures.append(read[1])
    paths = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        zoom = generator.uniform(0.8, 1.0)
        height, width = (int(side * zoom) for side in picture.shape[:2])
        cut = cv2.convertScaleAbs(picture[:height, :width], alpha=generator.uniform(0.8, 1.2))
        path = folder / f"{number:06}.jpg"
        cv2.imwrite(str(path), cv2.resize(cut, (640, 480)), [cv2.IMWRITE_JPEG_QUALITY, 90])
        paths.append(path)
    return paths


def bare_captioner(frames: Sequence[Path], bundle: str) -> tuple[float, float]:
    """(frames a second, CPU-milliseconds a frame) of the captioner alone, on pictures already decoded."""
    captioner = load_captioner(CaptioningConfig(bundle=bundle))
    size = Preprocessing(captioner.image_size)
    images = np.stack([decode(path.read_bytes(), size, MAX_PIXELS).pixels for path in frames])
    captioner.caption(images[:BATCH])
    started, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(images), BATCH):
        captioner.caption(images[start : start + BATCH])
    return len(images) / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / len(images)


def end_to_end(frames: Sequence[Path], place: Path, bundle: str) -> tuple[float, float]:
    """(frames a second, CPU-milliseconds a frame) of `framecap work --once`: frames on disk in, sidecars on disk out.

    The seconds are the worker's own, from its first look for frames to its end; the CPU time is that of the whole process
    and its children, its start included.
    """
    place.mkdir()
    for path in frames:
        os.link(path, place / path.name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*WORK, "--once", "--frames", place, "--bundle", bundle],
        capture_output=True,
        text=True,
        check=True,
        cwd=place.parent,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = next(
        line
        for line in map(json.loads, reversed(done.stderr.splitlines() + done.stdout.splitlines()))
        if "captioned" in line
    )
    if summary["captioned"] != len(frames):
        raise SystemExit(f"{summary['captioned']} of {len(frames)} frames were captioned: {summary}")
    cpu = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return len(frames) / summary["seconds"], 1000 * cpu / len(frames)


def latencies(frames: Sequence[Path], place: Path, bundle: str) -> list[float]:
    """Seconds from a frame's close to its readable sidecar, one frame a second, with `framecap work` running."""
    place.mkdir()
    worker = subprocess.Popen(
        [*WORK, "--frames", place, "--bundle", bundle],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place.parent,
    )
    try:
        _drop(frames[0], place / "first.jpg", 60)  # until it is ready
        seconds = []
        for path in frames:
            time.sleep(1)
            seconds.append(_drop(path, place / path.name, 10))
    finally:
        worker.terminate()
        worker.wait()
    return seconds


def _drop(frame: Path, to: Path, limit: float) -> float:
    data = frame.read_bytes()
    to.write_bytes(data)
    closed = time.perf_counter()
    sidecar = to.with_name(f"{to.name}.json")
    while not sidecar.exists():
        if time.perf_counter() - closed > limit:
            raise SystemExit(f"{sidecar}: not there after {limit} seconds")
        time.sleep(0.0005)
    json.loads(sidecar.read_bytes())
    return time.perf_counter() - closed


def report(bare: Sequence[tuple[float, float]], whole: Sequence[tuple[float, float]], seconds: Sequence[float]) -> str:
    """The table; ratios are to the bare captioner of the same runs."""
    bare_speed, bare_cpu = (statistics.median(values) for values in zip(*bare, strict=True))
    speed, cpu = (statistics.median(values) for values in zip(*whole, strict=True))
    ordered = sorted(seconds)
    speeds = [value for value, _ in whole]
    rows = [
        ("bare captioner (beam 5, batches of 16)", f"{bare_speed:.1f} frames/s, {bare_cpu:.1f} CPU-ms a frame"),
        ("end to end (files to sidecars)", f"{speed:.1f} frames/s ({min(speeds):.1f} to {max(speeds):.1f})"),
        ("end to end / bare captioner", f"{speed / bare_speed:.2f}"),
        ("CPU that the pipeline adds", f"{cpu - bare_cpu:.1f} CPU-ms a frame (the start of the process included)"),
        (
            "close → readable sidecar, 1 frame/s",
            f"median {1000 * statistics.median(ordered):.0f} ms, max {1000 * ordered[-1]:.0f} ms",
        ),
    ]
    width = max(len(name) for name, _ in rows)
    cores = len(os.sched_getaffinity(0))
    return "\n".join([f"{cores} cores, 640x480 JPEGs, medians", *(f"  {name:{width}}  {figure}" for name, figure in rows)])


if __name__ == "__main__":
    main()
