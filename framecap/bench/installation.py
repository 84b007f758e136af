"""An installation in; how long its commands take to start, and how large it is, out."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from framecap.bench.children import Bench, MeasurementFailed, ended, environment, lines_of
from framecap.bench.pipeline import fresh_folder

_LOOK_SECONDS = 0.005
_READY_SECONDS = 120.0
_READY = "captioning the frames in"  # how the worker says that its model is loaded and warm
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def help_seconds() -> float:
    """Of `framecap --help`, from its start to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "framecap", "--help"], env=environment(), capture_output=True, check=True)
    return time.perf_counter() - started


def ready_seconds(bench: Bench) -> float:
    """Of `framecap work`, from its start until its model is loaded and warm."""
    folder, log = fresh_folder(bench), bench.folder / "ready-log"
    started = time.perf_counter()
    with ended(bench.start("work", "--frames", folder, "--config", bench.settings(), log=log)) as process:
        while process.poll() is None and time.perf_counter() - started < _READY_SECONDS:
            if any(str(line.get("message", "")).startswith(_READY) for line in lines_of(log)):
                return time.perf_counter() - started
            time.sleep(_LOOK_SECONDS)
    raise MeasurementFailed(f"framecap work did not get ready: {log.read_text(errors='replace')[-2000:]}")


def installed_bytes() -> int:
    """Of framecap and everything that its base installation needs, on disk."""
    return sum(_size(one) for one in _closure("framecap").values())


def _closure(name: str) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(key)
        except PackageNotFoundError:
            continue  # for another system or Python
        waiting += _required(found[key])
    return found


def _required(one: Distribution) -> Iterator[str]:
    """Names of what it needs, without its extras."""
    for line in one.requires or ():
        name, _, condition = line.partition(";")
        if "extra ==" not in condition and (match := _NAME.match(name)):
            yield match[0]


def _size(one: Distribution) -> int:
    paths = (Path(str(one.locate_file(file))) for file in one.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
