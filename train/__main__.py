"""python -m train: the commands that make and judge a model; each one thin: parse, call, print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from framecap.config import load_config
from framecap.errors import FramecapError, MissingError
from framecap.telemetry import set_up_logging
from train.commands import (
    calibrate,
    default_model,
    evaluate,
    explain,
    export,
    fit,
    import_checkpoint,
    prepare,
    quantize,
    reinforce,
)

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
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        print(f"error: the package {package} is not installed: pip install 'framecap[train]'", file=sys.stderr)
        return MissingError.exit_code
    except OSError as error:  # a disk that is full or read-only, in the middle of something
        index = f"{error.filename}: " if error.filename else ""
        print(f"error: {index}{error.strerror or error}", file=sys.stderr)
        return FramecapError.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Photos and captions in, a model bundle out.")
    parser.add_argument("--config", type=Path, help="configuration (default: ./config.yaml where there is one)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, arguments, text, example in (
        ("prepare", prepare.run, prepare.arguments, "photos and captions → HDF5 and JSON", prepare.EXAMPLE),
        ("fit", fit.run, fit.arguments, "train a model on a data folder", fit.EXAMPLE),
        ("reinforce", reinforce.run, reinforce.arguments, "train it further, by reward", reinforce.EXAMPLE),
        ("export", export.run, export.arguments, "trained weights → a bundle", export.EXAMPLE),
        ("calibrate", calibrate.run, calibrate.arguments, "say what a bundle's confidence is worth", calibrate.EXAMPLE),
        ("quantize", quantize.run, quantize.arguments, "a bundle → the same in int8, for CPUs", quantize.EXAMPLE),
        ("evaluate", evaluate.run, evaluate.arguments, "score a bundle on a split", evaluate.EXAMPLE),
        ("explain", explain.run, explain.arguments, "what the decoder looked at, as an image", explain.EXAMPLE),
        (
            "import",
            import_checkpoint.run,
            import_checkpoint.arguments,
            "an old pickled checkpoint → a bundle",
            import_checkpoint.EXAMPLE,
        ),
        (
            "default-model",
            default_model.run,
            default_model.arguments,
            "make the bundled models again",
            default_model.EXAMPLE,
        ),
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


if __name__ == "__main__":
    sys.exit(main())
