"""The arguments of every command in; a namespace whose `run` does what was asked out. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import framecap
from framecap.errors import ConfigError

if TYPE_CHECKING:  # heavy: `framecap --help` must be quick
    from framecap.config import Config

EXIT_CODES = """exit codes:
  0  all done
  1  something failed; what, was said
  2  wrong use or configuration
  3  something is missing on this machine; how to get it, was said
"""
SETTINGS = """Settings come from flags, then the environment (FRAMECAP__STORE__FRAMES=/mnt/frames), then config.yaml of
the working directory or the file given with --config, then their defaults. A camera's password is best kept in config.yaml
or the environment: others on the machine can see a command line."""


_OWN_FLAGS = {
    "frames": "store.frames",
    "bundle": "captioning.bundle",
    "runtime": "captioning.runtime",
    "shard": "ingest.shard",
    "queue": "ingest.queue",
    "metrics_port": "telemetry.port",
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="framecap",
        description="Frames in, one JSON caption sidecar per frame out, losing nothing.",
        epilog=f"{SETTINGS}\n\n{EXIT_CODES}",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"framecap {framecap.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_run, _add_capture, _add_work, _add_caption, _add_check, _add_status, _add_retry, _add_reconcile):
        add(commands)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same width everywhere, so that the reference page can be compared."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100, max_help_position=28)


Commands = Any  # argparse's _SubParsersAction, which has no public name


def _command(commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
    summary, _, rest = text.partition("\n")
    parser = commands.add_parser(
        name,
        help=summary.rstrip("."),
        description=f"{summary}\n{rest}".strip(),
        epilog=f"examples:\n{example}",
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=run)
    settings = parser.add_argument_group("settings")
    settings.add_argument("--config", metavar="FILE", type=Path, help="file of settings (default: config.yaml, if there)")
    settings.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, such as --set captioning.beam=3"
    )
    return parser


def _frames_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames", metavar="PLACE", help="directory, mount or s3://bucket/prefix of frames and sidecars (default: ./frames)"
    )


def _queue_flag(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--queue", metavar="URL", help=text)


def _metrics_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics-port", metavar="PORT", type=int, help="serve /metrics, /livez and /readyz there (default: they are not)"
    )


def _source_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="video file, folder of pictures, pattern (img-%%04d.jpg), camera number (0) or stream address (rtsp://...); "
        "without one: the cameras of config.yaml",
    )
    parser.add_argument("--camera", metavar="NAME", help="folder of its frames (default: made from the source)")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument("--fps", metavar="N", type=float, help="keep N frames per second of the source (default: 1)")
    sampling.add_argument("--every", metavar="N", type=int, help="keep every N-th frame")
    sampling.add_argument("--all", action="store_true", help="keep all frames")


def _model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR", help="folder of a model bundle (default: the model in the box)")
    parser.add_argument("--runtime", metavar="NAME", help="auto, onnx, torch or null (no model: for tests)")


def _add_run(commands: Commands) -> None:
    parser = _command(
        commands,
        "run",
        _run,
        "Capture a source and caption its frames.\n"
        "Capture and work run as two processes. At the end of a file it ends when every frame has its\n"
        "sidecar; a camera goes on until Ctrl-C or SIGTERM (a second one does not wait for what is in hand).",
        "  framecap run video.mp4\n  framecap run 0 --fps 2 --frames /data/frames\n  framecap run rtsp://camera/stream",
    )
    _source_flags(parser)
    _metrics_flag(parser)
    _frames_flag(parser)
    _model_flags(parser)


def _add_capture(commands: Commands) -> None:
    parser = _command(
        commands,
        "capture",
        _capture,
        "Save frames of a source, and do not caption them.\n"
        "Several cameras at once are listed in config.yaml, under capture.cameras.",
        "  framecap capture video.mp4 --all\n  framecap capture --config cameras.yaml",
    )
    _source_flags(parser)
    _metrics_flag(parser)
    _frames_flag(parser)


def _add_work(commands: Commands) -> None:
    parser = _command(
        commands,
        "work",
        _work,
        "Caption every frame that has no sidecar, those to come included.\n"
        "Frames may come from anywhere: any .jpg .jpeg .png .webp below the directory is one. Runs until\n"
        "SIGTERM or Ctrl-C, which finish what is in hand; a second one does not wait for it.",
        "  framecap work --frames /mnt/bucket/frames\n  framecap work --once\n"
        "  framecap work --frames /mnt/nfs/frames --shard 2/8 --metrics-port 9464\n"
        "  framecap work --frames s3://bucket/cams --queue https://sqs.eu-west-1.amazonaws.com/123456789012/frames",
    )
    parser.add_argument("--once", action="store_true", help="end when nothing is pending")
    _queue_flag(parser, "SQS queue of the bucket's events: read it instead of listing the bucket")
    parser.add_argument("--shard", metavar="I/N", help="take the I-th of N shares of the frames only, such as 2/8")
    _metrics_flag(parser)
    _frames_flag(parser)
    _model_flags(parser)


def _add_caption(commands: Commands) -> None:
    parser = _command(
        commands,
        "caption",
        _caption,
        "Caption pictures, and write no sidecars.\n"
        "Without FILE it asks for paths, one after the other, until the end of the input (Ctrl-D).",
        "  framecap caption dog.jpg beach.png\n  find . -name '*.jpg' | framecap caption --json",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="picture: .jpg .jpeg .png .webp")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the alternatives")
    _model_flags(parser)


def _add_check(commands: Commands) -> None:
    parser = _command(
        commands,
        "check",
        _check,
        "Show the settings and try everything a run needs.\n"
        "The configuration with its secrets masked, the store probed, the bundle verified, what is missing and\n"
        "how to get it.",
        "  framecap check --frames /mnt/bucket/frames",
    )
    _frames_flag(parser)
    _model_flags(parser)


def _add_status(commands: Commands) -> None:
    parser = _command(
        commands,
        "status",
        _status,
        "Show what is pending, done and failed, by camera.\n"
        "It changes nothing. The place is listed (on S3 one request per 1,000 objects) and every sidecar is\n"
        "read (on S3 one request each, so a million of them take their time and their price). With --quick none\n"
        "is read: what is pending is known then, and what failed is not.",
        "  framecap status --frames /mnt/bucket/frames\n  framecap status --frames /mnt/bucket/frames --quick --json",
    )
    parser.add_argument("--quick", action="store_true", help="read no sidecars")
    parser.add_argument("--json", action="store_true", help="one JSON object, all cameras in it")
    _frames_flag(parser)


def _add_retry(commands: Commands) -> None:
    parser = _command(
        commands,
        "retry",
        _retry,
        "Caption failed frames again.\n"
        "Every sidecar is read (see status). This command captions the failed frames itself and puts the new\n"
        "sidecar in the place of the failed one. Workers may run meanwhile, and to kill it loses nothing: what\n"
        "is not done keeps its failed sidecar (or, on a mount, is pending). Torn sidecars that are older than\n"
        "a minute count as failed, of the kind torn.",
        "  framecap retry --frames /mnt/bucket/frames --dry-run\n"
        "  framecap retry --frames /mnt/bucket/frames --kind decode --camera door",
    )
    parser.add_argument(
        "--kind", metavar="KIND", help="only errors of this kind, such as truncated, or decode for all kinds of it"
    )
    parser.add_argument("--camera", metavar="NAME", help="only this camera's frames")
    parser.add_argument("--dry-run", action="store_true", help="show which frames, and do nothing")
    _frames_flag(parser)
    _model_flags(parser)


def _add_reconcile(commands: Commands) -> None:
    parser = _command(
        commands,
        "reconcile",
        _reconcile,
        "Put frames that no event told of on the queue.\n"
        "Lists the bucket once, and sends a message, such as S3 itself sends, for every frame that has had no\n"
        "sidecar for a while; no frame is read. When the queue still holds as many messages as there are such\n"
        "frames, they wait there, none is forgotten, and nothing is sent. Run it on a schedule, hourly or daily.",
        "  framecap reconcile --frames s3://bucket/cams --queue https://sqs.eu-west-1.amazonaws.com/123456789012/frames",
    )
    parser.add_argument(
        "--older-than", metavar="SECONDS", type=float, default=900.0, help="leave younger frames alone (default: 900)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say how many, and send nothing")
    _queue_flag(parser, "SQS queue to put them on")
    _frames_flag(parser)


def _run(options: argparse.Namespace) -> int:
    from framecap.cli.commands import run

    return run(_config(options))


def _capture(options: argparse.Namespace) -> int:
    from framecap.cli.commands import capture

    return capture(_config(options))


def _work(options: argparse.Namespace) -> int:
    from framecap.cli.commands import work

    return work(_config(options), options.once)


def _caption(options: argparse.Namespace) -> int:
    from framecap.cli.pictures import caption

    return caption(_config(options), options.files, options.json)


def _check(options: argparse.Namespace) -> int:
    from framecap.cli.check import check

    return check(_config(options))


def _status(options: argparse.Namespace) -> int:
    from framecap.cli.status import status

    return status(_config(options), options.quick, options.json)


def _retry(options: argparse.Namespace) -> int:
    from framecap.cli.retry import retry

    return retry(_config(options), options.camera, options.kind, options.dry_run)


def _reconcile(options: argparse.Namespace) -> int:
    from framecap.cli.reconcile import reconcile

    return reconcile(_config(options), options.older_than, options.dry_run)


def _config(options: argparse.Namespace) -> Config:
    from framecap.config import load_config
    from framecap.plain_yaml import parse_value

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
