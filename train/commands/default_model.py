"""python -m train default-model: Flickr8k's photos and captions in, the bundled model out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from framecap.config import Config

EXAMPLE = "--karpathy dataset_flickr8k.json --images images"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--karpathy", type=Path, required=True, help="dataset_flickr8k.json")
    parser.add_argument("--images", type=Path, required=True, help="folder of Flickr8k's photos, 224 x 224")
    parser.add_argument("--work", type=Path, default=Path("runs/default"), help="what is made on the way (runs/default)")
    parser.add_argument("--out", type=Path, default=Path("framecap/bundles/default"), help="the bundle's folder")


def run(options: argparse.Namespace, config: Config) -> None:
    from train.export.default_model import make_default_model

    bundle = make_default_model(config.train, options.karpathy, options.images, options.work, options.out)
    print(json.dumps(bundle.card.scores, indent=1))
