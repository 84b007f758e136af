"""python -m train fit: a data folder in, a run's folder with trained weights out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.config import Config, TrainConfig
from train.commands.settings import add_settings, with_settings

if TYPE_CHECKING:
    from framecap.captioning.vocabulary import Vocabulary
    from train.training.model import Model

EXAMPLE = """--data caption_data --encoder resnext101_32x8d --amp bf16 --out runs/x
  python -m train fit --data caption_data --out runs/x --resume          go on after a kill: the same numbers
  python -m train fit --data caption_data --from runs/x/best --fine-tune last --crop 0.7 --out runs/y
  python -m train fit --data own_data --from default --out runs/own        begin with the bundled model
  torchrun --nproc-per-node 4 -m train fit --data caption_data --out runs/x"""
TEXT = """Trained weights, by cross-entropy; the epoch with the best free-running CIDEr-D is kept, or, where
fewer than 200 photos judge, the one with the lowest validation loss.

--from takes a run's checkpoint or a bundle: the model keeps its architecture and its words, and learns the data's new ones.

Where the encoder is frozen and images are only mirrored, its features are computed once and kept in the data folder."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--data", type=Path, required=True, help="a data folder (python -m train prepare)")
    add("--out", type=Path, default=Path("runs/fit"), help="the run's folder (runs/fit)")
    add("--from", dest="start", type=Path, help="begin with a checkpoint (runs/x/best) or a bundle (default, my_bundle)")
    add("--resume", action="store_true", help="go on where the run in --out was interrupted")
    add("--held-out", default="0", help="judge by so many photos of train, not by val (0); flickr8k=500,msrvtt=224")
    add("--random-encoder", action="store_true", help="do not load the encoder's pretrained weights")
    add_settings(parser, TrainConfig, "train", [key for key in TrainConfig.model_fields if key != "reinforce"])


def run(options: argparse.Namespace, _: Config) -> None:
    from train.data.batches import gather
    from train.data.dataset import DataFolder
    from train.data.held_out import parse_held_out
    from train.files import make_folder
    from train.training.begin import settings_of
    from train.training.distributed import processes
    from train.training.fit import fit

    config = with_settings(options).train
    folder = DataFolder(options.data)
    make_folder(options.out)  # what is wrong with it is said before the work
    with processes() as here:
        model = here.in_turn(lambda: _model(options, config, folder.word_map))
        folder, config = folder.with_words(model.vocabulary), settings_of(model, config)
        held_out = parse_held_out(options.held_out)
        material = gather(folder, model.encoder, held_out, folder.path / "features", config, here)
        began_trained = options.start is not None
        fit(config, material, model, options.out, here, resume=options.resume, judge_first=began_trained)
        if here.first:
            print(f"{options.out}: best.safetensors is ready (python -m train export --from {options.out}/best ...)")


def _model(options: argparse.Namespace, config: TrainConfig, words: Vocabulary) -> Model:
    import torch

    from train.training.begin import grown, load_start
    from train.training.model import new_model

    if options.start is None:
        return new_model(config, words, pretrained=not options.random_encoder)
    torch.manual_seed(config.seed)  # of the new words' rows
    found = grown(load_start(options.start, config), words, config.dropout)
    print(
        f"{options.start}: {len(found.model.vocabulary)} words, {found.added} of them new; {found.unused} of its words are "
        "not in the data folder's word map: it keeps them, but learns nothing more of them"
    )
    return found.model
