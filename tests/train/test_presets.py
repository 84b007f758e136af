"""The presets say what the tutorial says, and a ResNeXt bundle made with one is served by both runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from framecap import read_sidecars
from framecap.config import Config, TrainConfig, load_config
from tests.command import run
from tests.tiny import make_data_set
from train.__main__ import main

PRESETS = Path(__file__).parents[2] / "train" / "presets"
SEED = PRESETS / "coco-resnext101.yaml"
TUTORIAL = {  # train.py of a-PyTorch-Tutorial-to-Image-Captioning, with the seed's encoder
    "encoder": "resnext101_32x8d",
    "size": 256,
    "grid": 14,
    "embedding": 512,
    "attention": 512,
    "hidden": 512,
    "memory": None,
    "dropout": 0.5,
    "fine_tune": "none",
    "epochs": 120,
    "patience": 20,
    "learning_rate": 4e-4,
    "encoder_learning_rate": 1e-4,
    "clip_norm": 5.0,
    "attention_penalty": 1.0,
}


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_is_a_train_section_and_nothing_else(preset: Path) -> None:
    assert set(yaml.safe_load(preset.read_text())) == {"train"}
    config = load_config(preset, environment={})
    assert config.model_copy(update={"train": TrainConfig()}) == Config()
    assert f"--config {preset.relative_to(PRESETS.parents[1])}" in preset.read_text()


def test_the_seeds_preset_is_the_tutorials() -> None:
    settings = load_config(SEED, environment={}).train.model_dump()
    assert {key: settings[key] for key in TUTORIAL} == TUTORIAL
    assert abs(settings["batch_size"] - 32) < 5  # whole photos of five captions
    plain = TrainConfig(mirror=False, schedule="constant", warm_up=0.0, weight_decay=0.0, label_smoothing=0.0)
    for key in ("mirror", "crop", "colour", "schedule", "warm_up", "weight_decay", "label_smoothing", "scheduled_sampling"):
        assert settings[key] == getattr(plain, key)


@pytest.mark.timeout(300)  # half a minute when the machine is free
def test_from_photos_to_a_resnext_bundle_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/train-on-coco.md on random weights: prepare, fit, export, then `framecap work --once` in both runtimes."""
    karpathy, images = make_data_set(tmp_path / "source", photos=16)
    data, out, bundle = tmp_path / "data", tmp_path / "run", tmp_path / "bundle"

    def command(name: str, *arguments: object) -> None:
        assert main(["--config", str(SEED), name, *map(str, arguments)]) == 0, capsys.readouterr().err

    source = ("--karpathy", karpathy, "--images", images, "--minimum-word-frequency", 2)
    command("prepare", "--dataset", "tiny", "--size", 64, *source, "--out", data)
    small = ("--size", 64, "--encoder", "resnext50_32x4d", "--hidden", 24, "--embedding", 16, "--attention", 16)
    command("fit", "--data", data, "--out", out, "--random-encoder", "--epochs", 1, "--workers", 1, *small)
    assert not (data / "features").exists()
    command("export", "--from", out / "best", "--out", bundle)
    card = json.loads((bundle / "bundle.json").read_text())
    assert (card["encoder"]["name"], card["places"]) == ("resnext50_32x4d", [14, 14])
    captions = []
    for runtime in ("onnx", "torch"):
        frames = tmp_path / runtime
        frames.mkdir()
        for photo in sorted(images.iterdir())[:4]:
            (frames / photo.name).write_bytes(photo.read_bytes())
        done = run("work", "--once", "--frames", frames, "--bundle", bundle, "--runtime", runtime, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        captions.append({sidecar.frame.key: sidecar.caption for sidecar in read_sidecars(frames)})
    assert len(captions[0]) == 4
    assert captions[0] == captions[1]
    assert all(captions[0].values())
