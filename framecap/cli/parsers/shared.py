"""What the commands' parsers share: their form, flags that several have, and the configuration that flags make."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from framecap.errors import ConfigError

if TYPE_CHECKING:  # heavy: `framecap --help` must be quick
    from framecap.config import Config

Commands = Any  # argparse's _SubParsersAction, which has no public name

_OWN_FLAGS = {
    "frames": "store.frames",
    "bundle": "captioning.bundle",
    "runtime": "captioning.runtime",
    "shard": "ingest.shard",
    "queue": "ingest.queue",
    "metrics_port": "telemetry.port",
    "host": "viewer.host",
    "port": "viewer.port",
}


class Formatter(argparse.RawDescriptionHelpFormatter):
    """The same width everywhere, so that the reference page can be compared."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100, max_help_position=28)


class Parser(argparse.ArgumentParser):
    """Says what was probably meant; the parsers of the commands are of this class, too, and show their own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As there, but nothing is unknown: else the parser of all commands would refuse it, with its own usage."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_nearest(unknown[0].partition('=')[0], flags)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """As there, with the nearest of the choices."""
        wrong = re.search(r"invalid choice: '(?P<given>[^']*)' \(choose from (?P<choices>.*)\)", message)
        if wrong:
            message += _nearest(wrong["given"], wrong["choices"].replace("'", "").split(", "))
        super().error(message)


def _nearest(given: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(given, choices, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def command(commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
    """A command: the first line of `text` is its summary; the parser comes back for its own flags."""
    summary, _, rest = text.partition("\n")
    parser = commands.add_parser(
        name,
        help=summary.rstrip("."),
        description=f"{summary}\n{rest}".strip(),
        epilog=f"examples:\n{example}",
        formatter_class=Formatter,
    )
    parser.set_defaults(run=run)
    settings = parser.add_argument_group("settings")
    settings.add_argument("--config", metavar="FILE", type=Path, help="file of settings (default: config.yaml, if there)")
    settings.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, such as --set captioning.beam=3"
    )
    return parser


def frames_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames", metavar="PLACE", help="directory, mount or s3://bucket/prefix of frames and sidecars (default: ./frames)"
    )


def queue_flag(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--queue", metavar="URL", help=text)


def metrics_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics-port", metavar="PORT", type=int, help="serve /metrics, /livez and /readyz there (default: they are not)"
    )


def source_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="video file, folder of images, pattern (img-%%04d.jpg), camera number (0) or stream address (rtsp://...); "
        "without one: the cameras of config.yaml",
    )
    parser.add_argument("--camera", metavar="NAME", help="folder of its frames (default: made from the source)")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument("--fps", metavar="N", type=float, help="keep N frames per second of the source (default: 1)")
    sampling.add_argument("--every", metavar="N", type=int, help="keep every N-th frame")
    sampling.add_argument("--all", action="store_true", help="keep all frames")


def model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR", help="folder of a model bundle (default: the bundled model)")
    parser.add_argument("--runtime", metavar="NAME", help="auto, onnx, torch or null (no model: for tests)")


def configuration(options: argparse.Namespace) -> Config:
    """The configuration that a command's flags, the environment and its file make. Raises ConfigError."""
    from framecap.config import load_config
    from framecap.config.plain_yaml import parse_value

    flags: dict[str, Any] = {}
    for assignment in options.set:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError("--set: KEY=VALUE is expected, such as --set captioning.beam=3")
        flags[key] = parse_value(text, f"--set {key}")
    own = {name: getattr(options, flag, None) for flag, name in _OWN_FLAGS.items()}
    if "source" in options:
        own["capture.cameras"] = _cameras(options)
    flags |= {name: value for name, value in own.items() if value is not None}
    return load_config(options.config, flags)


def _cameras(options: argparse.Namespace) -> list[dict[str, object]] | None:
    """The camera of the command line, which takes the place of those of the configuration."""
    every = 1 if options.all else options.every
    if options.source is not None:
        return [{"name": options.camera, "source": options.source, "fps": options.fps, "every": every}]
    given = [name for name in ("camera", "fps", "every", "all") if getattr(options, name)]
    if given:
        raise ConfigError(f"--{given[0]} belongs to a SOURCE: name one, or write it to capture.cameras of config.yaml")
    return None
