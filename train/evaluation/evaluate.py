"""A bundle and a split in, its scores out: each photo captioned as the worker would, judged by raw references.

But for one thing: `captioning.runtime: auto` is ONNX Runtime for a bundle in int8, whatever the machine, since PyTorch has
none of its int8 numbers: what is on its card must be of the numbers that it is there for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from framecap.captioning.bundle import Bundle, open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_runtime
from framecap.config import CaptioningConfig
from framecap.errors import ConfigError, ModelError
from train.data.dataset import Split
from train.evaluation.scores import Scores, score

BATCH = 32  # photos


@dataclass(frozen=True)
class Evaluation:
    """The scores, the captions they are of, how many photos a second were captioned, and what executed the bundle."""

    scores: Scores
    captions: list[Caption]
    photos_per_second: float
    runtime: str


def evaluate(bundle: Bundle, split: Split, config: CaptioningConfig) -> Evaluation:
    """Caption every photo of the split (free running) and score the words. Raises ConfigError without raw references."""
    captions, photos_per_second, runtime = caption_split(bundle, split, config)
    scores = score([caption.words for caption in captions], split.references)
    return Evaluation(scores, captions, photos_per_second, runtime)


def caption_split(bundle: Bundle, split: Split, config: CaptioningConfig) -> tuple[list[Caption], float, str]:
    """A caption for every photo, how many photos a second that was, and the runtime's name.

    Raises ConfigError for data that do not fit.
    """
    if not split.raw:
        raise ConfigError(
            f"{split.images.parent}: no REFERENCES file: its captions are encoded, rare words lost, and scores against them "
            "would not be comparable: make the folder again with `python -m train prepare`"
        )
    side, wanted = split.file.shape.size, bundle.card.preprocessing.size
    if side != wanted:
        raise ConfigError(
            f"{split.images}: its images are {side} pixels wide, the bundle {bundle.card.name} takes {wanted}: make a "
            f"data folder for it with `python -m train prepare --size {wanted}`"
        )
    if config.runtime == "auto" and "quantised" in bundle.card.training:
        config = config.model_copy(update={"runtime": "onnx"})
    captioner = BundleCaptioner(bundle, load_runtime(bundle, config), config)
    captions: list[Caption] = []
    started = time.perf_counter()
    for start in tqdm(range(0, len(split), BATCH), "caption", unit="batch"):
        for caption in captioner.caption(split.read_images(start, min(start + BATCH, len(split)))):
            if isinstance(caption, Exception):
                raise ModelError(f"photo {len(captions)}: {caption}")
            captions.append(caption)
    return captions, len(split) / (time.perf_counter() - started), captioner.runtime.name


def scores_by_set(captions: Sequence[Sequence[str]], split: Split) -> dict[str, Scores]:
    """The scores of each data set's photos by its name, n-grams weighed within the set; empty where there is only one."""
    names = split.set_names
    if len(names) < 2:
        return {}
    rows = {name: split.rows_of(name) for name in names}
    return {
        name: score([captions[row] for row in own], [split.references[row] for row in own]) for name, own in rows.items()
    }


def write_scores(bundle: Bundle, name: str, scores: Scores) -> Bundle:
    """Put the scores on the bundle's card; its hash stays what it is."""
    from train.export.bundle import write_card

    card = bundle.card.model_copy(update={"scores": {**bundle.card.scores, name: scores.rounded()}})
    write_card(bundle.path, card)
    return open_bundle(str(bundle.path))
