"""python -m benchmarks.search: a number of captions in; what the search index costs to make, to keep up and to ask out.

The sidecars are made up when they are read: a frame a second of each camera, captions of the words that the bundled model
knows, as frequent as words are (the n-th most frequent one n times less than the first).
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tqdm import tqdm

import framecap
from framecap.frames import FrameName, make_key, parse_key, sidecar_key
from framecap.stores.base import Entry
from framecap.timeline.search.index import Index

CAMERAS = 100
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LATE = 100  # sidecars that come after the index was made
TRIES = 20
WORDS = json.loads((Path(framecap.__file__).parent / "bundles" / "default" / "vocabulary.json").read_text())
COMMON = [word for word in WORDS if word.isalpha()]

QUESTIONS = {
    "a common word": "dog",
    "the most common word": "a",
    "two common words": "dog beach",
    "three words": "man red ball",
    "a phrase": '"a dog"',
    "a common and a rare word": f"a {COMMON[-1]}",
    "a beginning": "run*",
    "one without another": "dog -beach",
    "nothing has it": "zebrafish",
    "no words: the newest": "",
}


class MadeUp:
    """A store whose sidecars are made when they are read; it counts what it is asked for."""

    hints = True

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.listed = self.read = 0
        weights = [1 / rank for rank in range(1, len(COMMON) + 1)]
        self._sums = list(itertools.accumulate(weights))

    def _key(self, camera: int, second: int) -> str:
        return make_key(FrameName(f"camera-{camera:03}", BEGIN + second * SECOND, second))

    def top(self) -> Iterator[str]:
        return (f"camera-{camera:03}/" for camera in range(CAMERAS))

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        for camera in [int(prefix[7:10])] if prefix else range(CAMERAS):
            seconds = len(range(camera, self.frames, CAMERAS))
            for second in range(self._first(camera, seconds, after), seconds):
                self.listed += 1
                yield Entry(sidecar_key(self._key(camera, second)), 1500, 1.0, "e")

    def _first(self, camera: int, seconds: int, after: str) -> int:
        if not after:
            return 0
        return bisect.bisect_right(range(seconds), after, key=lambda second: sidecar_key(self._key(camera, second)))

    def read_sidecar(self, key: str) -> bytes:
        self.read += 1
        name = parse_key(key)
        assert name is not None
        chance = random.Random(key)
        words = [COMMON[bisect.bisect(self._sums, chance.random() * self._sums[-1])] for _ in range(chance.randint(6, 12))]
        return json.dumps(
            {
                "schema_version": 1,
                "status": "captioned",
                "frame": {"key": key, "camera": name.camera, "captured_at": name.captured_at.isoformat()},
                "caption": f"{' '.join(words).capitalize()}.",
                "confidence": round(chance.random(), 4),
                "model": {"name": "made-up", "bundle": "0" * 64, "runtime": "none"},
                "worker": {"host": "here", "pid": 1, "version": "0"},
                "committed_at": name.captured_at.isoformat(),
            }
        ).encode()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--captions", type=int, default=1_000_000, help="in the index (1000000)")
    parser.add_argument("--index", type=Path, help="an index that an earlier run left there, or where to leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framecap-search-") as folder:
        measure(options.captions, options.index or Path(folder) / "index.sqlite")


def measure(captions: int, path: Path) -> None:
    store = MadeUp(captions - LATE)
    index = Index(store, path, gap_seconds=60)  # type: ignore[arg-type]
    if not path.exists():
        with tqdm(total=captions - LATE, unit=" sidecars") as bar:
            seconds = _timed(lambda: index.update(on_read=bar.update))
        _say("made", seconds, store)
    _say("up to date: everything is listed", _timed(lambda: index.update(full=True)), store)
    for what in ("nothing new, whole lookback", "nothing new, as half of the updates"):
        _say(f"up to date: {what}", _timed(index.update), store)
    store.frames = captions
    _say(f"up to date: {LATE} new", _timed(index.update), store)
    store.frames = captions - LATE  # so that the next run finds it as this one did
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{path.stat().st_size / captions:.0f} bytes a caption, {memory:.0f} MB of memory")
    span = BEGIN + captions // CAMERAS // 2 * SECOND
    asked: dict[str, Callable[[str, bool], object]] = {
        "": lambda words, newest: index.search(words, newest=newest),
        ", one camera": lambda words, newest: index.search(words, camera="camera-007", newest=newest),
        ", the older half": lambda words, newest: index.search(words, until=span, newest=newest),
    }
    print(f"\n{'milliseconds':45} newest: median, max, CPU  ranked: median, max, CPU")
    for what, words in QUESTIONS.items():
        for how, ask in asked.items():
            print(f"{what + how:45} {_spread(lambda: ask(words, True)):>24} {_spread(lambda: ask(words, False)):>25}")  # noqa: B023


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _spread(work: Callable[[], object]) -> str:
    """Milliseconds: the median, the longest, and the median of the processor's time, which a busy machine changes least."""
    taken, busy = [], []
    for _ in range(TRIES):
        before = time.process_time()
        taken.append(1000 * _timed(work))
        busy.append(1000 * (time.process_time() - before))
    return f"{statistics.median(taken):.1f} {max(taken):.1f} {statistics.median(busy):.1f}"


def _say(what: str, seconds: float, store: MadeUp) -> None:
    print(f"{what:45} {seconds:8.2f} s, {store.listed:9,} listed, {store.read:9,} read")
    store.listed = store.read = 0


if __name__ == "__main__":
    main()
