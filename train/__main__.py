"""python -m train: the commands that make and judge a model; each one thin: parse, call, print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.config import Config, load_config
from framecap.errors import FramecapError
from framecap.telemetry import set_up_logging
from train.commands import evaluate, explain, prepare

if TYPE_CHECKING:
    from framecap.captioning.model.encoder import Encoder

FORMATTER = argparse.RawDescriptionHelpFormatter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (0 done, 1 failed, 2 wrong use or configuration, 3 something is missing)."""
    options = _parser().parse_args(arguments)
    set_up_logging("info", "text")
    try:
        config = load_config(options.config)
        options.command(options, config)
    except FramecapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Photos and captions in, a model bundle out.")
    parser.add_argument("--config", type=Path, help="configuration (default: ./config.yaml where there is one)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, arguments, text, example in (
        ("prepare", prepare.run, prepare.arguments, "photos and captions → HDF5 and JSON", prepare.EXAMPLE),
        (
            "fit",
            _fit,
            _fit_arguments,
            "train a decoder on a frozen encoder's features",
            "--data caption_data --out runs/first",
        ),
        (
            "export",
            _export,
            _export_arguments,
            "a trained decoder → a bundle",
            "--from runs/first --data caption_data --out b",
        ),
        ("evaluate", evaluate.run, evaluate.arguments, "score a bundle on a split", evaluate.EXAMPLE),
        ("explain", explain.run, explain.arguments, "what the decoder looked at, as a picture", explain.EXAMPLE),
        ("default-model", _default_model, _default_arguments, "make the model in the box again", "--images Images ..."),
    ):
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  python -m train {name} {example}",
            formatter_class=FORMATTER,
        )
        arguments(sub)
        sub.set_defaults(command=command)
    return parser


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="a data folder (python -m train prepare)")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--held-out", type=int, default=0, help="judge by so many photos of train, not by val (0)")
    parser.add_argument("--random-encoder", action="store_true", help="do not load the encoder's pretrained weights")


def _fit(options: argparse.Namespace, config: Config) -> None:
    import torch

    from train.dataset import DataFolder
    from train.fit import fit, gather

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = _encoder(config, pretrained=not options.random_encoder)
    folder = DataFolder(options.data)
    material = gather(folder, encoder, options.held_out, options.data / "features", device)
    fit(config.train, material, options.out, device)
    print(f"{options.out}: best.safetensors is ready to export")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="run", type=Path, required=True, help="a run's folder (python -m train fit)")
    parser.add_argument("--data", type=Path, required=True, help="the data folder it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--name", help="the bundle's name in sidecars (default: the folder's)")
    parser.add_argument("--random-encoder", action="store_true", help="do not load the encoder's pretrained weights")


def _export(options: argparse.Namespace, config: Config) -> None:
    from train.dataset import DataFolder
    from train.export import export
    from train.fit import load_decoder

    decoder = load_decoder(options.run / "best.safetensors")
    encoder = _encoder(config, pretrained=not options.random_encoder)
    training = {"settings": config.train.model_dump(mode="json")}
    vocabulary = DataFolder(options.data).vocabulary
    bundle = export(options.out, options.name or options.out.name, encoder, decoder, vocabulary, {"training": training})
    print(f"{options.out}: bundle {bundle.card.name} {bundle.hash}")


def _default_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--karpathy", type=Path, required=True, help="dataset_flickr8k.json")
    parser.add_argument("--images", type=Path, required=True, help="folder of Flickr8k's photos, 224 x 224")
    parser.add_argument("--work", type=Path, default=Path("runs/default"), help="what is made on the way (runs/default)")
    parser.add_argument("--out", type=Path, default=Path("framecap/bundles/default"), help="the bundle's folder")


def _default_model(options: argparse.Namespace, config: Config) -> None:
    from train.default_model import make_default_model

    bundle = make_default_model(config.train, options.karpathy, options.images, options.work, options.out)
    print(json.dumps(bundle.card.scores, indent=1))


def _encoder(config: Config, pretrained: bool) -> Encoder:
    from framecap.captioning.model.encoder import Encoder

    return Encoder(config.train.encoder, config.train.size, pretrained=pretrained).eval()


if __name__ == "__main__":
    sys.exit(main())
