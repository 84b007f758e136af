"""Images in; what `benchmarks/naive_loop.py`, in a process of its own, says of them and how long it takes, out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import framecap
from framecap.bench.children import Bench, MeasurementFailed, environment

_ROOT = Path(framecap.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class NaiveRun:
    """Frames a second of its model alone, and with its decoding; the captions (None: no sentence ended)."""

    speed: float
    whole_speed: float
    captions: list[str | None]


def missing() -> str:
    """Why the naive loop cannot run here, and what to do; nothing where it can."""
    if not (_ROOT / "benchmarks" / "naive_loop.py").is_file():
        return "needs the source tree: run `make bench` in it"
    if find_spec("torch") is None or find_spec("timm") is None:
        return "needs torch: pip install 'framecap[gpu]', or `make bench`"
    return ""


class NaiveLoop:
    """It starts once and waits between the runs, so that they can take turns with others."""

    def __init__(self, bench: Bench, device: str) -> None:
        self._log = bench.folder / "naive-log"
        config = json.dumps(bench.config.captioning.model_dump(mode="json"))
        arguments = ["--serve", "--config", config, "--device", device, "--bundle", bench.config.captioning.bundle]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.naive_loop", *arguments],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def run(self, images: Sequence[Path], tutorial: bool = False) -> NaiveRun:
        """Caption them; `tutorial`: by the tutorial's own rules."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"paths": [str(path) for path in images], "tutorial": tutorial}) + "\n")
        self._process.stdin.flush()
        done = self._answer()
        decoding, captioning = done["decode_seconds"], done["caption_seconds"]
        return NaiveRun(len(images) / captioning, len(images) / (decoding + captioning), done["captions"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            output = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise MeasurementFailed(f"benchmarks/naive_loop.py ended: {output}")
        answer: dict[str, Any] = json.loads(line)
        return answer
