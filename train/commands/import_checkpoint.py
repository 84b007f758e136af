"""python -m train import: a checkpoint of the tutorial or of the seed in, a bundle out."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config

EXAMPLE = """BEST_checkpoint_coco_5_cap_per_img_5_min_word_freq.pth.tar \\
    --wordmap WORDMAP_coco_5_cap_per_img_5_min_word_freq.json --out my_bundle"""
TEXT = """A checkpoint of a-PyTorch-Tutorial-to-Image-Captioning, or of what was built on it, → a bundle.

Such a file is a pickle, which can run anything when it is loaded. It is not loaded here: its weights are read with a
closed list of names, nothing in it is executed, and whatever is not on the list is refused by its name.

The bundle takes RGB images. Checkpoints that were trained on OpenCV's BGR images (those of the doorbell project's
ResNeXt101) need --bgr, which turns their first layer round; the tutorial's own do not."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the checkpoint (*.pth.tar)")
    parser.add_argument("--wordmap", type=Path, required=True, help="the WORDMAP_*.json of the data that it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--bgr", action="store_true", help="its training images were BGR: read by cv2.imread, as the seed's")
    parser.add_argument("--name", help="the bundle's name in sidecars (default: the folder's)")


def run(options: argparse.Namespace, _: Config) -> None:
    from train.legacy.import_checkpoint import import_checkpoint

    name = options.name or options.out.absolute().name
    bundle = import_checkpoint(options.checkpoint, options.wordmap, options.out, name, options.bgr)
    print(f"{options.out}: bundle {bundle.card.name} {bundle.hash}, encoder {bundle.card.encoder.name}")
