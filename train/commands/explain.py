"""python -m train explain: an image in; what the decoder looked at, word by word, out as an image."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config, load_config

EXAMPLE = "frame.jpg -o attention.png"
TEXT = """What the decoder looked at: the image, and once more for each word of its caption.

Each word's panel is lit by its attention: half light is an even share of it, full light three times that or more. Beside
the word stands its probability. The model saw the image resized to a square; here it has its own aspect."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="a .jpg, .jpeg, .png or .webp file")
    add("-o", "--out", type=Path, default=Path("attention.png"), help="the image to make (attention.png); .pdf, .svg, too")
    add("--bundle", help="a bundle's folder (captioning.bundle: the bundled model)")


def run(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.load import load_captioner
    from train.evaluation.explain import draw, explain, need_format
    from train.evaluation.results import need_folder_of
    from train.files import write_durably

    file_format = need_format(options.out)
    need_folder_of(options.out)
    config = load_config(options.config, {"captioning.bundle": options.bundle})
    explained = explain(options.image, load_captioner(config.captioning), config.worker)
    write_durably(options.out, draw(explained, file_format))
    print(f"{options.out}: {explained.caption.text}")
