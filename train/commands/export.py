"""python -m train export: a run's weights in, a bundle that `framecap work` takes out."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config

EXAMPLE = "--from runs/x/best --out my_bundle"
TEXT = "Trained weights → a bundle for `framecap work --bundle`. A checkpoint holds all that is needed: no data folder."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--from", dest="start", type=Path, required=True, help="a run's checkpoint, such as runs/x/best")
    add("--out", type=Path, required=True, help="the bundle's folder")
    add("--name", help="the bundle's name in sidecars (the folder's)")


def run(options: argparse.Namespace, _: Config) -> None:
    from train.export.bundle import export
    from train.training.model import checkpoint_path, load_model

    model = load_model(checkpoint_path(options.start))
    about = {"training": model.training()}
    name = options.name or options.out.absolute().name
    bundle = export(options.out, name, model.encoder, model.decoder, model.vocabulary, about)
    print(f"{options.out}: bundle {bundle.card.name} {bundle.hash}")
