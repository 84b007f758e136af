"""Two versions compared: a slower one is caught, the same one is not, and what is no commit is said."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import LIMIT, Verdict, compare, main
from framecap.bench.images import make_images
from tests.command import ROOT

HOT = "        started = time.monotonic()\n        made, data = self._record(job)\n"


@given(st.integers(0, 10**6), st.floats(0.5, 2), st.integers(5, 9))
def test_noise_decides_nothing_and_a_fifth_is_caught(seed: int, speed: float, pairs: int) -> None:
    """Noise of 5% either way, and one run in which the machine did something else."""
    noise = random.Random(seed)

    def measured(factor: float) -> Verdict:
        ratios = [factor * noise.uniform(0.95, 1.05) for _ in range(pairs)]
        ratios[0] *= speed
        return Verdict("a", tuple(ratios))

    assert measured(1.2).slower(LIMIT)
    assert not measured(1.0).slower(LIMIT)
    assert not measured(1 / 1.2).slower(LIMIT)


@pytest.mark.timeout(300)
def test_a_slower_pipeline_is_caught(tmp_path: Path, tiny_bundle: Path) -> None:
    slower = tmp_path / "slower"
    shutil.copytree(ROOT / "framecap", slower / "framecap", ignore=shutil.ignore_patterns("__pycache__"))
    worker = slower / "framecap" / "worker" / "run.py"
    text = worker.read_text()
    assert HOT in text, "what is slowed down here has moved"
    worker.write_text(text.replace(HOT, HOT + "        sum(range(2_000_000))\n"))
    image_files = make_images(tmp_path / "images", 24)
    verdicts = {one.what: one for one in compare(ROOT, slower, image_files, tmp_path, 1, str(tiny_bundle))}
    assert set(verdicts) == {"end to end, wall", "end to end, CPU time", "pipeline alone, CPU time"}
    assert verdicts["pipeline alone, CPU time"].slower(LIMIT)
    assert "SLOWER by" in verdicts["pipeline alone, CPU time"].line(LIMIT)


def test_what_is_no_commit_is_reported_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["no-such-commit", "--frames", "1"])
    assert "no-such-commit: no such commit" in capsys.readouterr().err
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "framecap-base-" not in listed.stdout
