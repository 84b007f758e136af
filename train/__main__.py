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
from train.commands import prepare

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
        ("evaluate", _evaluate, _evaluate_arguments, "score a bundle on a split", "--data caption_data --split val"),
        (
            "explain",
            _explain,
            _explain_arguments,
            "a picture of what the decoder looked at, word by word",
            "frame.jpg -o attention.png",
        ),
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


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    from train.scores import DEFINITIONS

    definitions = "\n".join(f"  {name}: {text}" for name, text in DEFINITIONS.items())
    parser.description = f"""Caption every photo of a split as the worker would, and score the captions.
One caption a photo, free running, against all raw references; 95% intervals by bootstrap over the photos.
METEOR and SPICE need Java; what could not be measured is said. The scores:
{definitions}"""
    parser.add_argument("--bundle", default="default", help="a bundle's folder (default: the model in the box)")
    parser.add_argument("--data", type=Path, required=True, help="a data folder")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="what is captioned (val)")
    parser.add_argument("--beam", type=int, help="sentences searched side by side (captioning.beam: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--out", type=Path, help="write the JSON to this file, too")
    parser.add_argument("--results", type=Path, help="write the captions in COCO's results format to this file")


def _evaluate(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.bundle import open_bundle
    from train.dataset import DataFolder
    from train.files import write_durably
    from train.report import as_json, as_text, report
    from train.results import image_ids, need_folder_of, write_results

    settings = load_config(options.config, {"captioning.beam": options.beam}).captioning
    folder = DataFolder(options.data)
    bundle = open_bundle(options.bundle)
    for path in filter(None, (options.out, options.results)):
        need_folder_of(path)
    if options.results:
        image_ids(folder.split(options.split.upper()))  # what is missing is said before the work
    found = report(bundle, folder, options.split.upper(), settings)
    document = as_json(found)
    if options.out:
        write_durably(options.out, json.dumps(document, indent=1).encode() + b"\n")
    if options.results:
        write_results(options.results, folder.split(options.split.upper()), found.evaluation.captions)
    print(json.dumps(document) if options.json else as_text(found))


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="a .jpg, .jpeg, .png or .webp file")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("attention.png"), help="what to make: .png, .jpg, .webp, .pdf or .svg"
    )
    parser.add_argument("--bundle", help="a bundle's folder (captioning.bundle: the model in the box)")


def _explain(options: argparse.Namespace, _: Config) -> None:
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
