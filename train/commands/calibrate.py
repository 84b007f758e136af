"""python -m train calibrate: a bundle and photos that it was not trained on in; confidences that mean something out."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config, load_config

EXAMPLE = "--bundle my_bundle --data caption_data --held-out 500"
TEXT = """Make a bundle's confidence the probability that the caption fits the image, and let its sidecars say `uncertain`.

A caption fits when it agrees with people's captions of the photo (CIDEr-D) at least as well as three of four of people's
own captions agree with the others. Use photos that the model was not trained on: the ones that were held out, or val. The
bundle's hash changes with it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--bundle", required=True, help="the bundle's folder, which is changed")
    add("--data", type=Path, required=True, help="a data folder")
    add(
        "--held-out",
        type=int,
        default=0,
        help="calibrate by so many photos of train, the last ones, as fit held them out; 0: val",
    )
    add("--beam", type=int, help="sentences searched side by side (captioning.beam: 5)")


def run(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.bundle import open_bundle
    from framecap.errors import ConfigError
    from train.data.dataset import DataFolder
    from train.evaluation.calibrate import calibrate

    settings = load_config(options.config, {"captioning.beam": options.beam}).captioning
    folder = DataFolder(options.data)
    split = folder.split("TRAIN" if options.held_out else "VAL")
    if not 0 <= options.held_out <= len(split):
        raise ConfigError(f"--held-out {options.held_out}: the split TRAIN has {len(split)} photos")
    photos = split.part(slice(-options.held_out, None)) if options.held_out else split
    bundle = calibrate(open_bundle(options.bundle), photos, settings)
    print(f"{bundle.path}: bundle {bundle.card.name} {bundle.hash}")
    if found := bundle.card.calibration:
        for confidence in (0.2, 0.3, 0.4, 0.5, 0.6):
            print(f"  raw confidence {confidence}: fits with probability {found.probability(confidence):.2f}")
