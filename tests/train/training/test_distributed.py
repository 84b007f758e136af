"""Two processes train as one: the same losses, scores and weights from the same global batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from framecap.errors import DeviceMemoryError
from tests.train.synthetic import FLAGS, free_port
from train.__main__ import main
from train.data.dataset import DataFolder
from train.training.distributed import one_process, processes

ROOT = Path(__file__).parents[3]


SETTINGS = ("--batch-size", 45, "--learning-rate", 0.01, "--clip-norm", 0.2)  # which clips some steps: Adam hides a scale
ALONE = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}


def started(*arguments: object) -> str:
    """What Python said when it ran this, over loopback only."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **ALONE},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def same_training(together: Path, alone: Path) -> None:
    """The same losses and scores, epoch for epoch."""
    found, expected = (json.loads((run / "history.json").read_text()) for run in (together, alone))
    assert [epoch["epoch"] for epoch in found] == [0, 1]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_torchrun_trains_as_one_process_does(folder: DataFolder, tmp_path: Path) -> None:
    """Encoder and decoder, from images. Only one process writes and speaks. Dropout is 0: each would draw its own."""
    flags = ("fit", "--data", folder.path, "--random-encoder", *FLAGS, *SETTINGS, "--fine-tune", "last", "--crop", 0.8)
    where = ("--nnodes", 1, "--nproc-per-node", 2, "--master-addr", "127.0.0.1", "--master-port", free_port())
    together, alone = tmp_path / "together", tmp_path / "alone"
    output = started("-m", "torch.distributed.run", *where, "-m", "train", *flags, "--out", together)
    assert main([*map(str, flags), "--out", str(alone)]) == 0
    same_training(together, alone)
    assert json.loads((together / "run.json").read_text())["processes"] == 2
    assert output.count("Validation: [0/1]") == 2
    assert output.count("best.safetensors is ready") == 1


def test_two_processes_share_cached_features_and_rewards(folder: DataFolder, tmp_path: Path) -> None:
    """Samples differ between processes, so of reinforce there is only the end to compare: both must come to it."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    flags = ("fit", "--data", folder.path, "--random-encoder", *FLAGS, *SETTINGS)
    reward = ("reinforce", "--from", together / "best", "--data", folder.path, "--batch-size", 45, "--amp", "fp32")
    more = ("--epochs", 1, "--samples", 3)
    commands = [[str(part) for part in command] for command in ((*flags, "--out", together), (*reward, *more))]
    output = started("-m", "tests.train.two_processes", json.dumps(commands))
    assert main([*map(str, flags), "--out", str(alone)]) == 0
    same_training(together, alone)
    assert output.count("Reward") == 2  # of the first and the last step, said once
    assert (tmp_path / "together-reinforced" / "best.safetensors").exists()


def test_one_process_is_the_usual_case() -> None:
    here = one_process()
    values = torch.tensor([1.0, 2.0])
    assert here.first
    assert torch.equal(here.total(values), values)
    assert torch.equal(here.gather(values), values)
    model = torch.nn.Linear(1, 1)
    assert here.parallel(model) is model
    here.wait()


def test_too_little_memory_is_reported_with_what_to_do() -> None:
    with pytest.raises(DeviceMemoryError, match=r"lower train\.batch_size \(CUDA out of memory"), processes():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
