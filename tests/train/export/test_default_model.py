"""default-model: the whole recipe on a small made-up data set, and once more over what it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.captioning.bundle import Bundle, CalibrationCard, open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, ReinforceConfig
from framecap.errors import MissingError
from tests.tiny import SIZE, draw_image, make_data_set
from tests.train.synthetic import CONFIG
from train.data.dataset import DataFolder, Split
from train.evaluation.java_scores import JavaScore
from train.export import default_model
from train.export.bundle import write_card
from train.export.default_model import BundleRecipe, Stage, hours_left, make_default_models, trained
from train.export.model_card import CONFIDENCE
from train.training.distributed import one_process


def made_up_calibration(bundle: Bundle, split: Split, _: CaptioningConfig) -> Bundle:
    """Of captions like these nearly all fit, or none: test_calibrate.py has some that tell more."""
    found = CalibrationCard(slope=2.0, intercept=1.0, target=30.0, photos=len(split))
    write_card(bundle.path, bundle.card.model_copy(update={"calibration": found}))
    return open_bundle(str(bundle.path))


def no_java(*_: object) -> JavaScore:
    raise MissingError("METEOR takes seconds to start: its own test starts it")


def test_one_command_makes_a_whole_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewarded = {"reinforce": ReinforceConfig(epochs=1, samples=2)}
    recipe = BundleRecipe(
        model={"encoder": "efficientnet_lite0", "learning_rate": 0.01},
        stages=(
            Stage(name="frozen", settings={"epochs": 4}, hours=1),
            Stage(name="fine-tuned", settings={"fine_tune": "last", "crop": 0.8, "epochs": 1}, hours=2),
            Stage(name="rewarded", by="reinforce", settings=rewarded, hours=0.5),
        ),
    )
    monkeypatch.setattr(default_model, "RECIPES", {"default": recipe})
    monkeypatch.setattr(default_model, "HELD_OUT", {"tiny": 60})
    monkeypatch.setattr(default_model, "calibrate", made_up_calibration)
    monkeypatch.setattr("train.evaluation.report.meteor", no_java)
    source, work, out = tmp_path / "source", tmp_path / "work", tmp_path / "default"
    karpathy, images = make_data_set(source, photos=200)
    (bundle,) = make_default_models(CONFIG, [(karpathy, images)], work, tmp_path, ["default"])
    assert "about 3.5 hours on two cores" in capsys.readouterr().out
    assert bundle.card.calibration is not None
    assert bundle.card.calibration.photos == 60
    assert set(bundle.card.scores) == {"tiny val, beam 5", CONFIDENCE}
    assert bundle.card.training["before"]["before"]["settings"]["fine_tune"] == "none"
    assert bundle.card.training["quantised"]["photos"] == len(DataFolder(work / "caption_data").split("TRAIN"))
    card = (out / "README.md").read_text()
    assert "In int8 for ONNX Runtime" in card
    assert bundle.hash in card
    assert "It has no word for: airplane, apple" in card
    tuned = "the decoder with the second half of the encoder by cross-entropy"
    assert f"the decoder by cross-entropy, then {tuned}, then the decoder by CIDEr-D reward" in card
    (caption,) = load_captioner(CaptioningConfig(bundle=str(out), runtime="onnx")).caption(draw_image("red", "ball")[None])
    assert isinstance(caption, Caption)
    assert caption.uncertain is not None
    assert draw_image("red", "ball").shape == (SIZE, SIZE, 3)

    history = {path: path.stat().st_mtime_ns for path in work.rglob("history.json")}
    trained(CONFIG, DataFolder(work / "caption_data"), work / "default", recipe, one_process())
    assert hours_left(work, ["default"]) == 0
    assert history == {path: path.stat().st_mtime_ns for path in work.rglob("history.json")}
