"""python -m train default-model: photos and captions in, the bundled models out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from framecap.config import Config
from framecap.errors import ConfigError

EXAMPLE = "--karpathy dataset_flickr8k.json --images flickr8k --karpathy dataset_msrvtt.json --images msrvtt"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--karpathy", type=Path, action="append", required=True, help="dataset_flickr8k.json, dataset_msrvtt.json")
    add("--images", type=Path, action="append", required=True, help="its folder of images, 224 x 224, one for each")
    add("--bundle", choices=("default", "fast"), action="append", help="make only this one (both)")
    add("--work", type=Path, default=Path("runs/default-model"), help="what is made on the way (runs/default-model)")
    add("--out", type=Path, default=Path("framecap/bundles"), help="the folder of the bundles (framecap/bundles)")


def run(options: argparse.Namespace, config: Config) -> None:
    from train.export.default_model import RECIPES, make_default_models

    if len(options.karpathy) != len(options.images):
        raise ConfigError(
            f"{len(options.karpathy)} --karpathy, but {len(options.images)} --images: one of both for each set"
        )
    sets = list(zip(options.karpathy, options.images, strict=True))
    for bundle in make_default_models(config.train, sets, options.work, options.out, options.bundle or tuple(RECIPES)):
        print(bundle.card.name, json.dumps(bundle.card.scores, indent=1))
