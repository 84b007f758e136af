"""python -m train prepare: Karpathy's JSON or a person's own captions, and photos, in; a data folder out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from framecap.config import Config
from framecap.errors import ConfigError

NAMED = 20  # photos left out that are named on the terminal; a file names all
EXAMPLE = "--dataset coco --karpathy dataset_coco.json --images mscoco --out caption_data"
TEXT = """Photos and captions → a data folder: HDF5 pictures, JSON captions and a word map for each split.

The photos of COCO, Flickr8k and Flickr30k come with Karpathy's dataset_coco.json, dataset_flickr8k.json or
dataset_flickr30k.json. --images is the folder below which the JSON's `filepath` (COCO only: train2014, val2014) and
`filename` are. Killed or out of disk, the same command goes on where it stopped.

Your own frames, either way:
  --dataset own     the captions of a.jpg stand beside it in a.jpg.txt, one a line. Of each folder the first eight
                    tenths of the frames train, the next is val, the last is test.
  --karpathy FILE   a JSON of your own, to say the splits yourself:
                    {"images": [{"filename": "gate/a.jpg", "split": "train",
                                 "sentences": [{"tokens": ["a", "dog", "at", "the", "gate"]}]}]}
                    split is train, restval (trains, too), val or test; tokens are lower case without punctuation."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--dataset", default="coco", help="name that stands in the file names (coco); own: captions in .txt files")
    add("--karpathy", type=Path, help="Karpathy's dataset_*.json")
    add("--images", type=Path, required=True, help="folder of the photos")
    add("--out", type=Path, required=True, help="the data folder to make")
    add("--size", type=int, default=256, help="side of the pictures in pixels (256)")
    add("--captions-per-image", type=int, default=5, help="captions kept for each photo (5)")
    add("--minimum-word-frequency", type=int, default=5, help="rarer words are <unk> (5)")
    add(
        "--vocabulary-splits",
        choices=("train", "all"),
        default="train",
        help="whose words count; all: the seed's way (train)",
    )
    add(
        "--store",
        choices=("pixels", "jpeg"),
        default="pixels",
        help="how pictures are kept; jpeg: a tenth of the size (pixels)",
    )


def run(options: argparse.Namespace, _: Config) -> None:
    from train.karpathy import read_karpathy
    from train.own_frames import read_own_frames
    from train.prepare import Recipe, prepare_photos

    recipe = Recipe(
        dataset=options.dataset,
        size=options.size,
        captions_per_image=options.captions_per_image,
        minimum_word_frequency=options.minimum_word_frequency,
        vocabulary_splits=options.vocabulary_splits,
        store=options.store,
    )
    if options.karpathy:
        photos = read_karpathy(options.karpathy, options.images)
    elif options.dataset == "own":
        photos = read_own_frames(options.images)
    else:
        raise ConfigError("--karpathy is missing: name Karpathy's JSON, or take --dataset own for frames with .txt captions")
    problems = prepare_photos(recipe, photos, options.out)
    for problem in problems[:NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(problems) > NAMED:
        print(f"left out: {len(problems) - NAMED} more, all in {options.out}/LEFT_OUT_{recipe.base}.txt", file=sys.stderr)
    print(f"{options.out}: ready, {len(photos) - len(problems)} photos, {len(problems)} left out")
