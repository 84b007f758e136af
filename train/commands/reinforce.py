"""python -m train reinforce: a run's weights and its data folder in, a run's folder with better ones out."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.config import Config, ReinforceConfig, TrainConfig
from train.commands.settings import add_settings, with_settings

EXAMPLE = "--from runs/x/best --data caption_data --out runs/x-reinforced"
TEXT = """Trained weights → weights whose sampled sentences have a higher CIDEr-D (self-critical sequence training).

Architecture and vocabulary are the checkpoint's. The photos that judge are those that judged the run it comes from."""
SHARED = (
    *("fine_tune", "mirror", "crop", "colour", "workers", "amp", "mix", "batch_size", "patience", "average", "ema"),
    *("schedule", "warm_up", "weight_decay", "clip_norm", "checkpoint_seconds", "seed"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = TEXT
    add = parser.add_argument
    add("--from", dest="start", type=Path, required=True, help="the checkpoint to begin with, such as runs/x/best")
    add("--data", type=Path, required=True, help="the data folder it was trained on")
    add("--out", type=Path, help="the run's folder (beside the one it comes from: runs/x-reinforced)")
    add("--resume", action="store_true", help="go on where the run in --out was interrupted")
    add("--held-out", help="judge by so many photos of train, not by val (as the run it comes from)")
    add_settings(parser, ReinforceConfig, "train.reinforce", ReinforceConfig.model_fields)
    add_settings(parser, TrainConfig, "train", SHARED)


def run(options: argparse.Namespace, _: Config) -> None:
    from train.data.batches import gather
    from train.data.dataset import DataFolder
    from train.data.held_out import parse_held_out
    from train.files import make_folder
    from train.training.distributed import processes
    from train.training.model import check_vocabulary, checkpoint_path, load_model
    from train.training.reinforce import reinforce

    config = with_settings(options).train
    path = checkpoint_path(options.start)
    model = load_model(path)
    folder = DataFolder(options.data)
    check_vocabulary(model, folder.word_map, path)
    folder = folder.with_words(model.vocabulary)
    held_out = model.held_out if options.held_out is None else parse_held_out(options.held_out)
    out = options.out or path.parent.with_name(f"{path.parent.name}-reinforced")
    make_folder(out)  # what is wrong with it is said before the work
    with processes() as here:
        material = gather(folder, model.encoder, held_out, folder.path / "features", config, here)
        reinforce(config, material, model, out, here, resume=options.resume)
        if here.first:
            print(f"{out}: best.safetensors is ready (python -m train export --from {out}/best ...)")
