"""python -m train explain: a picture in; what the decoder looked at, word by word, out as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config, load_config

EXAMPLE = "frame.jpg -o attention.png"
TEXT = """What the decoder looked at: the picture, and once more for each word of its caption.

Each word's panel is lit by its attention: half light is an even share of it, full light three times that or more. Beside
the word stands its probability. The model saw the picture squashed to a square; here it has its own aspect."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("picture", type=Path, metavar="PICTURE", help="a .jpg, .jpeg, .png or .webp file")
    add("-o", "--out", type=Path, default=Path("attention.png"), help="the picture to make (attention.png); .pdf, .svg, too")
    add("--bundle", help="a bundle's folder (captioning.bundle: the model in the box)")


def run(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.load import load_captioner
    from train.explain import draw, explain, need_format
    from train.files import write_durably
    from train.results import need_folder_of

    file_format = need_format(options.out)
    need_folder_of(options.out)
    config = load_config(options.config, {"captioning.bundle": options.bundle})
    explained = explain(options.picture, load_captioner(config.captioning), config.worker)
    write_durably(options.out, draw(explained, file_format))
    print(f"{options.out}: {explained.caption.text}")
