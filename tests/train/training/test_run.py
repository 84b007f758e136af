"""A run's folder: a training that is killed goes on as if nothing had happened; what must not be mixed up is refused."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from framecap.errors import ConfigError
from tests.train.synthetic import CONFIG, HERE, plain_model
from train.data.batches import TrainingData
from train.data.dataset import DataFolder
from train.training.fit import fit

ROOT = Path(__file__).parents[3]


class Trainer:
    """A process that forks trainings (tests/train/killable.py)."""

    def __init__(self, folder: DataFolder) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.killable", str(folder.path)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def train(
        self, out: Path, kill_after: float | None = None, die_in_save: int | None = None, truncated: bool = False
    ) -> int:
        """Train, or go on, until the end or the kill; how it ended."""
        assert self.process.stdin is not None
        request = {"out": str(out), "kill_after": kill_after, "die_in_save": die_in_save, "torn": truncated}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@pytest.fixture
def trainer(folder: DataFolder) -> Iterator[Trainer]:
    trainer = Trainer(folder)
    yield trainer
    trainer.close()


def output(run: Path) -> list[str]:
    """The log without its times."""
    return [re.sub(r"(Batch|Data Load) Time [\d.() ]*", "", line) for line in (run / "log.txt").read_text().splitlines()]


@pytest.mark.faults(33)
def test_a_training_killed_anywhere_goes_on_to_the_same_end(
    trainer: Trainer, tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    """kill -9 at random moments, in the middle of writing a checkpoint and before it gets its name."""
    whole = tmp_path / "whole"
    started = time.monotonic()
    assert trainer.train(whole) == 0
    seconds = time.monotonic() - started
    choose = random.Random(33)
    at_random, in_saves = (150, 50) if full else (8, 4)
    moments: list[float | None] = [choose.uniform(0.02, seconds) for _ in range(at_random)]
    plan = moments + [None] * in_saves
    choose.shuffle(plan)
    runs, killed = 0, 0
    out = tmp_path / "run-0"
    for moment in plan:
        saves = choose.randint(1, 30)
        ended = trainer.train(out, moment, None if moment else saves, truncated=choose.random() < 0.5)
        killed += ended == -signal.SIGKILL
        assert ended in (0, -signal.SIGKILL)
        if ended == 0:  # it was quicker than the kill: the next one kills another run
            compare(whole, out)
            runs += 1
            out = tmp_path / f"run-{runs}"
    assert trainer.train(out) == 0
    compare(whole, out)
    assert killed >= len(plan) // 2
    figure(f"{killed} kills -9, {in_saves} of them in mid-save, over {runs + 1} runs: losses, scores and weights equal")


def compare(whole: Path, other: Path) -> None:
    """The same losses to the last bit, the same scores, the same log, the same weights; nothing unfinished lies about."""
    assert json.loads((other / "history.json").read_text()) == json.loads((whole / "history.json").read_text())
    assert output(other) == output(whole)
    best, expected = load_file(other / "best.safetensors"), load_file(whole / "best.safetensors")
    assert all(torch.equal(best[name], expected[name]) for name in expected)
    last, wanted = (torch.load(run / "resume.pt", weights_only=True) for run in (other, whole))
    assert all(torch.equal(last["lesson"][name], wanted["lesson"][name]) for name in wanted["lesson"])
    assert sorted(path.name for path in other.glob("epoch-*")) == sorted(path.name for path in whole.glob("epoch-*"))
    assert not list(other.glob(".*.part"))


def test_a_finished_run_is_not_trained_again(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE)
    log = (tmp_path / "log.txt").read_text()
    again = fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE, resume=True)
    assert (tmp_path / "log.txt").read_text() == log
    assert torch.equal(again.decoder.lstm.weight_hh, load_file(tmp_path / "best.safetensors")["decoder.lstm.weight_hh"])


def test_a_run_is_not_overwritten_and_not_mixed_with_another(
    folder: DataFolder, material: TrainingData, tmp_path: Path
) -> None:
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE)

    def refused(match: str, resume: bool = True, **update: object) -> None:
        config = CONFIG.model_copy(update=update)
        with pytest.raises(ConfigError, match=match):
            fit(
                config,
                material,
                plain_model(config.model_copy(update={"hidden": 32}), folder),
                tmp_path,
                HERE,
                resume=resume,
            )

    refused("holds a run already: go on with it", resume=False)
    refused(r"train\.learning_rate was 0\.001, now it is 0\.01", learning_rate=0.01)
    refused(r"train\.hidden was 32, now it is 64", hidden=64)
    other = plain_model(CONFIG.model_copy(update={"seed": 9}), folder)
    with pytest.raises(ConfigError, match="it began with other weights"):
        fit(CONFIG, material, other, tmp_path, HERE, resume=True)
    changed = CONFIG.model_copy(update={"workers": 1, "checkpoint_seconds": 5.0})
    fit(changed, material, plain_model(CONFIG, folder), tmp_path, HERE, resume=True)


def test_two_runs_in_one_folder_do_not_mix(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    claiming = (
        "import sys, pathlib, train.files as f\nwith f.claimed(pathlib.Path(sys.argv[1])): print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", claiming, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        for resume in (False, True):
            with pytest.raises(ConfigError, match="another process is at work there"):
                fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE, resume=resume)
        other.communicate(b"\n")
    assert not (tmp_path / "run.json").exists()


def test_a_damaged_checkpoint_is_named(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE)
    path = tmp_path / "resume.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"resume\.pt: not a whole checkpoint of a run"):
        fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE, resume=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"progress": '{"history": 1}'},
        {"progress": '{"epoch": "a"}'},
        {"record": "[]"},
        {"record": "[" * 100_000},
        {"lesson": {}},
        {"optimizer": {}},
        {"optimizer": 5},
    ],
)
def test_what_is_no_state_of_a_run_is_refused(
    folder: DataFolder, material: TrainingData, tmp_path: Path, changed: dict[str, object]
) -> None:
    fit(CONFIG.model_copy(update={"epochs": 1}), material, plain_model(CONFIG, folder), tmp_path, HERE)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    torch.save({**state, **changed}, tmp_path / "resume.pt")
    with pytest.raises(ConfigError, match=r"resume\.pt: not a whole checkpoint of a run \(.+\): start the run anew"):
        fit(CONFIG.model_copy(update={"epochs": 1}), material, plain_model(CONFIG, folder), tmp_path, HERE, resume=True)


class _Opens:
    """What runs when it is unpickled by a reader that allows everything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.faults(29)
def test_a_checkpoint_that_runs_code_is_refused(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path / "run", HERE)
    torch.save({"record": _Opens(tmp_path / "sentinel")}, tmp_path / "run" / "resume.pt")
    with pytest.raises(ConfigError, match=r"not a whole checkpoint of a run \(it holds other things than numbers\)"):
        fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path / "run", HERE, resume=True)
    assert not (tmp_path / "sentinel").exists()
