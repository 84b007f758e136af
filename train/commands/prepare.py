"""python -m train prepare: Karpathy's JSON or a person's own captions, and photos, in; a data folder out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from framecap.config import Config
from framecap.errors import ConfigError

NAMED = 20  # photos skipped that are named on the terminal; a file names all
EXAMPLE = "--dataset coco --karpathy dataset_coco.json --images mscoco --out caption_data"
TEXT = """Photos and captions → a data folder: HDF5 images, JSON captions and a word map for each split.

The photos of COCO, Flickr8k and Flickr30k come with Karpathy's dataset_coco.json, dataset_flickr8k.json or
dataset_flickr30k.json. --images is the folder below which the JSON's `filepath` (COCO only: train2014, val2014) and
`filename` are. Killed or out of disk, the same command goes on where it stopped.

Several data sets make one folder with one word map: name each with its own pair of --karpathy and --images. Every photo
remembers its data set (the JSON's `dataset`): val is scored for each, train.mix weighs them, --held-out names them.

Images with a `video` are frames of clips, and their captions are of the whole clip. The train split learns from the
--clip-captions that agree most with the clip's others; those that match --invisible (people talking, what a film is about)
count about a third. Frames with `clean: false` do not train (--unclean keep: they do). References are never filtered.

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
    add("--dataset", help="name that stands in the file names (coco; mixed where there are several); own: .txt files")
    add("--karpathy", type=Path, action="append", help="Karpathy's dataset_*.json; several: each with its --images")
    add("--images", type=Path, action="append", required=True, help="folder of the photos")
    add("--out", type=Path, required=True, help="the data folder to make")
    add("--size", type=int, default=256, help="side of the images in pixels (256)")
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
        help="how images are kept; jpeg: a tenth of the size (pixels)",
    )

    add("--clip-captions", type=int, default=5, help="captions of a clip that its frames learn from; 0: all (5)")
    add("--invisible", help='regular expression of what cannot be seen; "": nothing (a list of 30 words)')
    add("--unclean", choices=("skip", "keep"), default="skip", help="frames with `clean: false` in the JSON (skip)")


def run(options: argparse.Namespace, _: Config) -> None:
    from train.data.clip_captions import INVISIBLE, ClipFilter
    from train.data.own_frames import read_own_frames
    from train.data.prepare import Recipe, prepare_photos, read_sets

    sets = options.karpathy or []
    if len(options.images) != max(1, len(sets)):
        raise ConfigError(f"{len(sets)} --karpathy, but {len(options.images)} --images: each data set has one of both")
    recipe = Recipe(
        dataset=options.dataset or ("mixed" if len(sets) > 1 else "coco"),
        size=options.size,
        captions_per_image=options.captions_per_image,
        minimum_word_frequency=options.minimum_word_frequency,
        vocabulary_splits=options.vocabulary_splits,
        store=options.store,
    )
    if sets:
        how = ClipFilter(
            captions=options.clip_captions,
            invisible=INVISIBLE if options.invisible is None else options.invisible,
            clean_only=options.unclean == "skip",
        )
        photos = read_sets(list(zip(sets, options.images, strict=True)), how)
    elif options.dataset == "own":
        photos = read_own_frames(options.images[0])
    else:
        raise ConfigError("--karpathy is missing: name Karpathy's JSON, or take --dataset own for frames with .txt captions")
    problems = prepare_photos(recipe, photos, options.out)
    for problem in problems[:NAMED]:
        print(f"skipped: {problem}", file=sys.stderr)
    if len(problems) > NAMED:
        print(f"skipped: {len(problems) - NAMED} more, all in {options.out}/LEFT_OUT_{recipe.base}.txt", file=sys.stderr)
    print(f"{options.out}: ready, {len(photos) - len(problems)} photos, {len(problems)} skipped")
