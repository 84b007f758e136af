"""Training: what is learnt, what is left alone, what is written, and what stops it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from framecap.captioning.bundle import open_bundle
from framecap.config import CaptioningConfig, TrainConfig
from framecap.errors import ModelError
from tests.tiny import make_data_set
from tests.train.synthetic import CONFIG, FLAGS, HERE, plain_model
from train.__main__ import main
from train.data.batches import TrainingData, gather
from train.data.dataset import DataFolder
from train.evaluation.evaluate import evaluate
from train.training.fit import fit, learning_rate_factor
from train.training.model import Model, load_model, new_model
from train.training.objectives import CrossEntropy, unroll


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.weights().state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def cider_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of the six photos that judge here."""
    monkeypatch.setattr("train.training.objectives.FEWEST_FOR_CIDER", 1)


def test_few_photos_judge_by_validation_loss(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 3, "patience": 3, "learning_rate": 0.01})
    fit(config, material, plain_model(config, folder), tmp_path, HERE)
    log = (tmp_path / "log.txt").read_text()
    assert log.count("judged by validation loss, not by CIDEr-D: 6 image(s) are too few for it") == 1
    history = json.loads((tmp_path / "history.json").read_text())
    lowest = min(history, key=lambda epoch: epoch["validation_loss"])["epoch"]
    assert load_model(tmp_path / "best.safetensors").about["is"] == {"epoch": lowest}


def test_the_decoder_learns_to_say_what_it_sees(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.01})
    fit(config, material, plain_model(config, folder), tmp_path, HERE)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] / 2
    assert max(epoch["bleu_1"] for epoch in history) > 0.9


def test_what_a_run_leaves(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    """The seed's log lines, the curves, what it was run with."""
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path, HERE)
    number = r"\d+\.\d{3} \(\d+\.\d{3}\)"
    loss = r"\d+\.\d{4} \(\d+\.\d{4}\)"
    lines = (tmp_path / "log.txt").read_text().splitlines()
    step = rf"Epoch: \[1\]\[4/5\]\tBatch Time {number}\tData Load Time {number}\tLoss {loss}\tTop-5 Accuracy {number}"
    judged = rf"Validation: \[0/1\]\tBatch Time {number}\tLoss {loss}\tTop-5 Accuracy {number}\t"
    assert sum(bool(re.fullmatch(step, line)) for line in lines) == 1
    assert sum(bool(re.fullmatch(judged, line)) for line in lines) == 2
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert {name in events.read_bytes() for name in (b"train/loss", b"judge/cider_d")} == {True}
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"] == CONFIG.model_dump(mode="json")
    assert record["data"]["folder"] == str(folder.path)
    assert record["versions"]["torch"]
    assert len(record["data"]["vocabulary"]) == 64


def test_the_same_seed_gives_the_same_run(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"dropout": 0.3, "scheduled_sampling": 0.5})
    runs = [weights(fit(config, material, plain_model(config, folder), tmp_path / name, HERE)) for name in ("a", "b")]
    assert changed(*runs) == set()
    other = config.model_copy(update={"seed": 4})
    assert changed(runs[0], weights(fit(other, material, plain_model(config, folder), tmp_path / "c", HERE)))


@pytest.mark.parametrize("update", [{"fine_tune": "last"}, {"fine_tune": "all"}, {"crop": 0.7, "colour": 0.2}])
def test_only_what_is_to_be_trained_changes(folder: DataFolder, tmp_path: Path, update: dict[str, object]) -> None:
    """A fine-tuned encoder keeps its normalisation's statistics, a frozen one everything, though it sees every image."""
    config = CONFIG.model_copy(update={**update, "epochs": 1})
    model = new_model(config, folder.vocabulary, pretrained=False)
    before = weights(model)
    after = weights(fit(config, gather(folder, model.encoder, 0, tmp_path, config, HERE), model, tmp_path / "run", HERE))
    moved = changed(before, after)
    statistics = {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert len(statistics) > 30
    assert moved & statistics == set()
    encoder = {name for name in before if name.startswith("encoder.")} - statistics
    stem = {name for name in encoder if "conv_stem" in name or ".blocks.0." in name}
    if update.get("fine_tune") == "all":
        assert moved >= encoder
    elif update.get("fine_tune") == "last":
        assert moved & encoder
        assert moved & stem == set()
    else:
        assert moved & encoder == set()
    assert {name for name in moved if name.startswith("decoder.")} == {
        name for name in before if name.startswith("decoder.")
    }


@pytest.mark.usefixtures("cider_decides")
def test_training_on_from_a_trained_model_never_ends_worse(
    folder: DataFolder, material: TrainingData, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"epochs": 20, "patience": 20, "learning_rate": 0.01})
    good = fit(config, material, plain_model(config, folder), tmp_path / "good", HERE)
    ruin = config.model_copy(update={"epochs": 1, "learning_rate": 5.0, "warm_up": 0.0, "clip_norm": 1e9})
    before = weights(good)
    kept = fit(ruin, material, good, tmp_path / "ruined", HERE, judge_first=True)
    assert json.loads((tmp_path / "ruined" / "history.json").read_text())[0]["cider_d"] < 100
    assert changed(before, weights(kept)) == set()


@pytest.mark.usefixtures("cider_decides")
def test_the_best_epochs_are_averaged(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 4, "patience": 4, "average": 2, "learning_rate": 0.01})
    best = weights(fit(config, material, plain_model(config, folder), tmp_path, HERE))
    history = json.loads((tmp_path / "history.json").read_text())
    epochs = sorted(sorted(range(4), key=lambda epoch: -history[epoch]["cider_d"])[:2])
    kept = sorted(tmp_path.glob("epoch-*.safetensors"))
    assert [path.name for path in kept] == [f"epoch-{epoch}.safetensors" for epoch in epochs]
    from train.training.run import Run, record_of

    model = plain_model(config, folder)
    run = Run(tmp_path, record_of("fit", config, material, model, HERE), model, HERE, resume=True)
    assert run.progress.average is not None
    averaged = run.averaged(2)
    first, second = (weights(load_model(path)) for path in kept)
    name = "decoder.lstm.weight_hh"
    torch.testing.assert_close(averaged[name], (first[name] + second[name]) / 2)
    is_better = run.progress.average["cider_d"] > max(epoch["cider_d"] for epoch in history)
    assert torch.equal(best[name], averaged[name]) == is_better


def test_it_stops_when_the_captions_get_no_better(folder: DataFolder, material: TrainingData, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 9, "patience": 2, "learning_rate": 1e-9})
    fit(config, material, plain_model(config, folder), tmp_path, HERE)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 3


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_learns_too(folder: DataFolder, material: TrainingData, tmp_path: Path, amp: str) -> None:
    config = CONFIG.model_copy(update={"amp": amp})
    fit(config, material, plain_model(config, folder), tmp_path, HERE)
    losses = [epoch["loss"] for epoch in json.loads((tmp_path / "history.json").read_text())]
    assert losses[1] < losses[0]


def test_a_loss_that_is_not_finite_stops_before_the_update(
    folder: DataFolder, material: TrainingData, tmp_path: Path
) -> None:
    assert material.train.features is not None
    broken = replace(material, train=replace(material.train, features=material.train.features * float("nan")))
    model = plain_model(CONFIG, folder)
    before = weights(model)
    with pytest.raises(ModelError, match=r"the loss is nan at step 0 of epoch 0: lower train\.learning_rate"):
        fit(CONFIG, broken, model, tmp_path, HERE)
    assert changed(before, weights(model)) == set()
    assert not (tmp_path / "best.safetensors").exists()


def test_learning_rates_rise_and_fall() -> None:
    config = TrainConfig(warm_up=0.1)
    assert [learning_rate_factor(config, done) for done in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx(
        [0.1, 0.55, 1.0, 0.5, 0.0]
    )
    constant = TrainConfig(warm_up=0.0, schedule="constant")
    assert {learning_rate_factor(constant, done) for done in (0.0, 0.5, 0.99)} == {1.0}


def test_scheduled_sampling_lets_the_model_go_on_from_its_own_words(folder: DataFolder, material: TrainingData) -> None:
    model = plain_model(CONFIG, folder)
    assert material.train.features is not None
    features = torch.from_numpy(material.train.features[:4, 0].copy()).float()
    captions = torch.from_numpy(material.train.split.captions[:4])
    given = model.decoder(features, captions)
    torch.manual_seed(1)
    never, own = (unroll(model.decoder, features, captions, sampling) for sampling in (1e-12, 1.0))
    for expected, found in zip(given, never, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own[0][:, :, 0], given[0][:, :, 0])  # the first word is always <start>
    assert not torch.allclose(own[0][:, :, 2:], given[0][:, :, 2:])


def test_the_tutorials_decoder_on_the_seeds_encoder(folder: DataFolder) -> None:
    """ResNeXt101_32x8d at 14 x 14 places, features as they are: one step of the loss goes through all of it."""
    config = CONFIG.model_copy(update={"encoder": "resnext101_32x8d", "memory": None, "grid": 14, "fine_tune": "last"})
    model = new_model(config, folder.vocabulary, pretrained=False)
    material = gather(folder, model.encoder, 0, Path(), config, HERE)
    from train.data.batches import Epoch
    from train.training.fit import parameter_groups

    objective = CrossEntropy(model, config, from_images=True)
    groups = parameter_groups(objective, config)
    photos = replace(material.train, split=material.train.split.part(slice(0, 2)))
    (batch,) = Epoch(photos, config, 0, HERE).batches(0, 0, HERE.device)
    objective(batch).loss.backward()
    assert model.decoder.encoder_attention.in_features == 2048
    assert model.encoder.locations == 196
    learning = {name for name, parameter in model.encoder.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[1] for name in learning} == {"5", "6", "7"}  # layer2, layer3, layer4: what the tutorial tunes
    assert sum(len(group["params"]) for group in groups) == len(learning) + len(list(model.decoder.parameters()))


def test_an_encoder_stays_in_evaluation_mode(folder: DataFolder) -> None:
    objective = CrossEntropy(new_model(CONFIG, folder.vocabulary, pretrained=False), CONFIG, from_images=True)
    objective.train()
    assert objective.decoder.training
    assert objective.encoder is not None
    assert not any(module.training for module in objective.encoder.modules() if isinstance(module, nn.BatchNorm2d))


def test_the_commands_make_a_bundle_that_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prepare, fit, fine-tune, reinforce; then the data folder is gone, and export needs none."""
    karpathy, images = make_data_set(tmp_path / "source")
    data, run, tuned, bundle = (tmp_path / name for name in ("data", "run", "tuned", "bundle"))

    def command(*arguments: object) -> None:
        assert main([*map(str, arguments)]) == 0

    source = ("--karpathy", karpathy, "--images", images)
    command("prepare", "--dataset", "tiny", "--size", 64, "--minimum-word-frequency", 2, *source, "--out", data)
    command("fit", "--data", data, "--out", run, "--held-out", 8, "--random-encoder", *FLAGS)
    fine = ("--fine-tune", "last", "--crop", 0.8, "--epochs", 1)
    command("fit", "--data", data, "--out", tuned, "--held-out", 8, "--from", run / "best", *FLAGS, *fine)
    command("reinforce", "--from", tuned / "best", "--data", data, "--epochs", 1, "--batch-size", 40, "--amp", "fp32")
    record = json.loads((tmp_path / "tuned-reinforced" / "run.json").read_text())
    assert record["command"] == "reinforce"
    assert record["data"]["held_out"] == 8
    assert "8 photos of TRAIN_IMAGES" in record["data"]["judge"]
    elsewhere = data.rename(tmp_path / "elsewhere")
    command("export", "--from", tmp_path / "tuned-reinforced" / "best", "--out", bundle)
    card = open_bundle(str(bundle)).card
    assert [card.training["command"], card.training["before"]["settings"]["fine_tune"]] == [
        "python -m train reinforce",
        "last",
    ]
    assert str(tmp_path) not in card.model_dump_json()
    capsys.readouterr()
    command("evaluate", "--bundle", bundle, "--data", elsewhere, "--split", "test", "--json")
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    test = DataFolder(elsewhere).split("TEST")
    captions = {
        runtime: evaluate(open_bundle(str(bundle)), test, CaptioningConfig(runtime=runtime)) for runtime in ("onnx", "torch")
    }
    assert printed["scores"]["bleu_4"] == captions["onnx"].scores.rounded()["bleu_4"]
    assert [c.text for c in captions["onnx"].captions] == [c.text for c in captions["torch"].captions]


def test_wrong_use_is_one_line(folder: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def output(*arguments: object) -> str:
        assert main(["fit", "--out", str(tmp_path / "run"), *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no WORDMAP_*.json: make the data folder" in output("--data", tmp_path)
    data = ("--data", folder.path, "--random-encoder", *FLAGS)
    assert "train.dropout" in output(*data, "--dropout", "much")
    assert "train.epochs" in output(*data, "--epochs", 0)
    for photos in (36, -3):
        assert f"--held-out {photos}: the split TRAIN has 36 photos" in output(*data, "--held-out", photos)
    assert "train.seed" in output(*data, "--seed", 10**30)
    assert "train.hidden" in output(*data, "--hidden", 10**12)
    assert "train.learning_rate" in output(*data, "--learning-rate", 1e300)
    assert "its images are 64 pixels wide, the encoder takes 96" in output(*data, "--size", 96)
    assert "neither torchvision nor timm knows it" in output(*data, "--encoder", "resnext1001")
    assert "no map of rows and columns" in output(*data, "--encoder", "test_vit")
    assert "takes no images of 32 pixels" in output(*data, "--encoder", "alexnet", "--size", 32)
    (tmp_path / "file").touch()
    assert "file: no folder can be made there" in output(*data, "--out", tmp_path / "file")
    assert "no checkpoint there: name a run's" in output(*data, "--from", tmp_path / "nothing")


def test_a_null_can_be_reported_on_the_command_line(folder: DataFolder, tmp_path: Path) -> None:
    flags = ("--random-encoder", *FLAGS, "--epochs", 1, "--memory", "null", "--grid", 3)
    assert main(["fit", "--data", str(folder.path), "--out", str(tmp_path / "run"), *map(str, flags)]) == 0
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert (settings["memory"], settings["grid"]) == (None, 3)
