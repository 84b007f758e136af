"""From a data folder to a bundle that captions: the whole of train/ on a small made-up data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from framecap.captioning.bundle import open_bundle
from framecap.config import CaptioningConfig, TrainConfig
from framecap.errors import ModelError
from tests.tiny import make_data_set
from train.__main__ import main
from train.dataset import DataFolder
from train.evaluate import evaluate
from train.fit import Material, fit, load_decoder
from train.prepare import Recipe, prepare
from train.scores import score

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    size=64, embedding=16, hidden=32, attention=16, memory=16, dropout=0.0, batch_size=40, epochs=2, amp="fp32", seed=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    karpathy, images = make_data_set(tmp_path_factory.mktemp("source"))
    out = tmp_path_factory.mktemp("data")
    prepare(Recipe(dataset="tiny", size=64, minimum_word_frequency=3), karpathy, images, out)
    return DataFolder(out)


@pytest.fixture(scope="module")
def material(folder: DataFolder) -> Material:
    """Features that show the colour and the shape plainly: what is tested is the decoder's training."""
    generator = torch.Generator().manual_seed(1)
    meaning = {word: torch.randn(12, generator=generator) for word in folder.vocabulary.words}

    def features(references: list[list[list[str]]]) -> torch.Tensor:
        described = [meaning[captions[0][1]] + meaning[captions[0][2]] for captions in references]
        return torch.stack(described)[:, None, None].repeat(1, 2, 4, 1).half()

    train, val = folder.split("TRAIN"), folder.split("VAL")
    return Material(train, features(train.references).numpy(), val, features(val.references).numpy(), folder.vocabulary)


def test_the_decoder_learns_to_say_what_it_sees(material: Material, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.01})
    fit(config, material, tmp_path, CPU)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert max(epoch["bleu_1"] for epoch in history) > 0.9
    assert (tmp_path / "log.txt").read_text().startswith("Epoch: [0][0/")


def test_the_same_seed_gives_the_same_run(material: Material, tmp_path: Path) -> None:
    first, second = (fit(CONFIG, material, tmp_path / name, CPU).state_dict() for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    saved = load_decoder(tmp_path / "a" / "best.safetensors").state_dict()
    assert all(torch.equal(first[name], saved[name]) for name in first)


def test_bf16_learns_too(material: Material, tmp_path: Path) -> None:
    fit(CONFIG.model_copy(update={"amp": "bf16"}), material, tmp_path, CPU)
    losses = [epoch["loss"] for epoch in json.loads((tmp_path / "history.json").read_text())]
    assert losses[1] < losses[0]


def test_a_loss_that_is_not_finite_stops_before_the_update(material: Material, tmp_path: Path) -> None:
    broken = Material(
        material.train, material.train_features * float("nan"), material.judge, material.judge_features, material.vocabulary
    )
    with pytest.raises(ModelError, match="the loss is nan at step 0"):
        fit(CONFIG, broken, tmp_path, CPU)
    assert not (tmp_path / "best.safetensors").exists()


def test_the_commands_make_a_bundle_that_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    karpathy, images = make_data_set(tmp_path / "source")
    config = tmp_path / "config.yaml"
    config.write_text("train: {size: 64, embedding: 16, hidden: 32, attention: 16, memory: 16, epochs: 1, amp: fp32}")
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "bundle"

    def command(*arguments: object) -> int:
        return main(["--config", str(config), *map(str, arguments)])

    source = ("--karpathy", karpathy, "--images", images)
    assert command("prepare", "--dataset", "tiny", "--size", 64, "--minimum-word-frequency", 2, *source, "--out", data) == 0
    assert command("fit", "--data", data, "--out", run, "--held-out", 8) == 0
    assert command("export", "--from", run, "--data", data, "--out", out) == 0
    capsys.readouterr()
    assert command("evaluate", "--bundle", out, "--data", data, "--split", "test", "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    evaluation = evaluate(open_bundle(str(out)), DataFolder(data).split("TEST"), CaptioningConfig(runtime="onnx"))
    assert printed["bleu_4"] == evaluation.scores.rounded()["bleu_4"]
    assert all(caption.text for caption in evaluation.captions)


def test_a_wrong_folder_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "no WORDMAP_*.json: make the data folder" in capsys.readouterr().err


def test_scores_are_the_fields() -> None:
    """Perfect captions score 1 and, of CIDEr-D's ten times ten, as much as their n-grams are rare."""
    references = [[["a", "dog", "runs", "fast"]], [["two", "boys", "play", "ball"]]]
    perfect = score([captions[0] for captions in references], references)
    assert (perfect.bleu_4, perfect.rouge_l, perfect.cider_d) == pytest.approx((1, 1, 1000), abs=1e-3)
    half = score([["a", "dog", "runs", "fast"], ["a", "dog", "runs", "fast"]], references)
    assert half.cider_d == pytest.approx(500, abs=1e-3)
    assert half.bleu_1 == pytest.approx(0.5, abs=1e-6)
