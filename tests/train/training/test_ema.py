"""The moving average of the weights: its formula, and that it is what a run judges and keeps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.train.synthetic import CONFIG, HERE, plain_model
from train.data.batches import TrainingData
from train.data.dataset import DataFolder
from train.training.ema import MovingAverage
from train.training.fit import fit


def test_average_follows_the_weights_slowly() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    average = MovingAverage(layer, 0.5)
    for _ in range(20):
        with torch.no_grad():
            layer.weight.add_(1.0)
        average.update()
    with average.applied():
        assert abs(layer.weight.item() - 19.0) < 0.01  # one step behind, by the formula's limit
    assert layer.weight.item() == 20.0
    other = MovingAverage(layer, 0.5)
    other.restore(average.state())
    with other.applied():
        assert abs(layer.weight.item() - 19.0) < 0.01


def test_without_decay_the_weights_stay_themselves() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    average = MovingAverage(layer, 0.0)
    average.update()
    with average.applied():
        assert torch.equal(layer.weight, before)


def test_a_run_keeps_the_average(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1, "learning_rate": 0.01})
    plain = fit(config, material, plain_model(config, folder), tmp_path / "plain", HERE).weights().state_dict()
    slow = config.model_copy(update={"ema": 0.99})
    averaged = fit(slow, material, plain_model(slow, folder), tmp_path / "slow", HERE).weights().state_dict()
    start = plain_model(config, folder).weights().state_dict()
    name = "decoder.output.weight"
    assert 0 < (averaged[name] - start[name]).norm() < (plain[name] - start[name]).norm()


def test_an_interrupted_run_goes_on_with_its_average(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 2, "ema": 0.9, "checkpoint_seconds": 0.0})
    whole = fit(config, material, plain_model(config, folder), tmp_path / "whole", HERE)
    state = torch.load(tmp_path / "whole" / "resume.pt", weights_only=True)
    assert state["ema"]["steps"] == 10
    again = fit(config, material, plain_model(config, folder), tmp_path / "whole", HERE, resume=True)
    for name, value in whole.weights().state_dict().items():
        assert torch.equal(value, again.weights().state_dict()[name])
