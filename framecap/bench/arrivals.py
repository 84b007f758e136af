"""A running worker and frames that come at a rate in; seconds from each frame's close to its readable sidecar out."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from framecap.bench.children import Bench, MeasurementFailed, ended
from framecap.bench.pipeline import fresh_folder

_READY_SECONDS = 120.0  # a large model on a slow machine
_LOST_SECONDS = 60.0  # after the last frame; by then a worker that keeps up has long been done
_LOOK_SECONDS = 0.001  # between two looks at what is awaited: what the figures are exact to


@contextmanager
def running_worker(bench: Bench, images: Sequence[Path]) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A worker that has captioned its first frames, and the place that it watches."""
    folder = fresh_folder(bench)
    (folder / "camera").mkdir()
    log = bench.folder / "latency-log"
    with ended(bench.start("work", "--frames", folder, "--config", bench.settings(), log=log)) as process:
        for number, image in enumerate(images[:8]):
            _drop(image, folder / "camera" / f"first-{number}.jpg")
        first = [folder / "camera" / f"first-{number}.jpg.json" for number in range(min(8, len(images)))]
        deadline = time.monotonic() + _READY_SECONDS
        while not all(sidecar.exists() for sidecar in first):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MeasurementFailed(f"the worker captions nothing: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield folder, process


def latencies(folder: Path, images: Sequence[Path], rate: float, count: int) -> list[float]:
    """Of `count` frames, `rate` a second. Raises MeasurementFailed when one of them gets no caption.

    Frames come by the clock, whether those before are done or not: a worker that falls behind is seen to.
    """
    encoded = [image.read_bytes() for image in images[:64]]
    awaited: dict[Path, float] = {}
    seconds: list[float] = []
    sidecars: list[Path] = []
    due = time.perf_counter()
    coming = enumerate(islice(cycle(encoded), count))
    following = next(coming, None)
    while following is not None or awaited:
        now = time.perf_counter()
        if following is not None and now >= due:
            number, data = following
            frame = folder / "camera" / f"{rate:g}-{number:06}.jpg"
            frame.write_bytes(data)
            awaited[frame.with_name(f"{frame.name}.json")] = time.perf_counter()
            due += 1 / rate
            following = next(coming, None)
            continue
        there = [sidecar for sidecar in awaited if sidecar.exists()]
        seconds += [time.perf_counter() - awaited.pop(sidecar) for sidecar in there]
        sidecars += there
        if following is None and now > due + _LOST_SECONDS:
            raise MeasurementFailed(f"{len(awaited)} of {count} frames at {rate:g} a second got no sidecar")
        time.sleep(_LOOK_SECONDS)
    for sidecar in sidecars:
        if json.loads(sidecar.read_bytes())["status"] != "captioned":
            raise MeasurementFailed(f"{sidecar.name}: {sidecar.read_text()}")
    return seconds


def _drop(image: Path, to: Path) -> None:
    to.write_bytes(image.read_bytes())
