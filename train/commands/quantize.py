"""python -m train quantize: a bundle and photos in; the same bundle with its encoder in int8, for CPUs, out."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config

EXAMPLE = "--bundle my_bundle --data caption_data --out my_bundle-int8"
TEXT = """A bundle whose encoder ONNX Runtime computes in int8: half the time of an image on CPUs that can (VNNI, AMX).

The ranges of its numbers are measured on photos of the train split. PyTorch, on a GPU, goes on with the weights as they
are. The new bundle has neither scores nor a calibration: `evaluate` says what it costs, `calibrate` what its confidence is
worth."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--bundle", required=True, help="a bundle's folder; default: the bundled model")
    add("--data", type=Path, required=True, help="a data folder with images of the bundle's size")
    add("--photos", type=int, default=512, help="of the train split, that ranges are measured on, at most (512)")
    add("--out", type=Path, required=True, help="the new bundle's folder")
    add("--name", help="the new bundle's name in sidecars (the folder's)")


def run(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.bundle import open_bundle
    from train.data.dataset import DataFolder
    from train.export.quantize import quantize

    source, split = open_bundle(options.bundle), DataFolder(options.data).split("TRAIN")
    bundle = quantize(source, split, options.photos, options.out, options.name or options.out.absolute().name)
    print(f"{options.out}: bundle {bundle.card.name} {bundle.hash}")
