"""The parsers of the commands that capture and caption: run, capture, work, caption, check."""

from __future__ import annotations

import argparse

from framecap.cli.parsers.shared import (
    Commands,
    command,
    configuration,
    frames_flag,
    metrics_flag,
    model_flags,
    queue_flag,
    source_flags,
)


def add(commands: Commands) -> None:
    """Add them."""
    for add_one in (_add_run, _add_capture, _add_work, _add_caption, _add_check):
        add_one(commands)


def _add_run(commands: Commands) -> None:
    parser = command(
        commands,
        "run",
        _run,
        "Capture a source and caption its frames.\n"
        "Capture and work run as two processes. At the end of a file it ends when every frame has its\n"
        "sidecar; a camera goes on until Ctrl-C or SIGTERM (a second one does not wait for what is in flight).",
        "  framecap run video.mp4\n  framecap run 0 --fps 2 --frames /data/frames\n  framecap run rtsp://camera/stream",
    )
    source_flags(parser)
    parser.add_argument(
        "--refine", action="store_true", help="also take second looks (refine.captioner), in a third process"
    )
    metrics_flag(parser)
    frames_flag(parser)
    model_flags(parser)


def _add_capture(commands: Commands) -> None:
    parser = command(
        commands,
        "capture",
        _capture,
        "Save frames of a source, and do not caption them.\n"
        "Several cameras at once are listed in config.yaml, under capture.cameras.",
        "  framecap capture video.mp4 --all\n  framecap capture --config cameras.yaml",
    )
    source_flags(parser)
    metrics_flag(parser)
    frames_flag(parser)


def _add_work(commands: Commands) -> None:
    parser = command(
        commands,
        "work",
        _work,
        "Caption every frame that has no sidecar, those to come included.\n"
        "Frames may come from anywhere: any .jpg .jpeg .png .webp below the directory is one. Runs until\n"
        "SIGTERM or Ctrl-C, which finish what is in flight; a second one does not wait for it. SIGHUP takes the model\n"
        "that the settings name by then, between two batches.",
        "  framecap work --frames /mnt/bucket/frames\n  framecap work --once\n"
        "  framecap work --frames /mnt/nfs/frames --shard 2/8 --metrics-port 9464\n"
        "  framecap work --frames s3://bucket/cams --queue https://sqs.eu-west-1.amazonaws.com/123456789012/frames",
    )
    parser.add_argument("--once", action="store_true", help="end when nothing is pending")
    queue_flag(parser, "SQS queue of the bucket's events: read it instead of listing the bucket")
    parser.add_argument("--shard", metavar="I/N", help="take the I-th of N shares of the frames only, such as 2/8")
    metrics_flag(parser)
    frames_flag(parser)
    model_flags(parser)


def _add_caption(commands: Commands) -> None:
    parser = command(
        commands,
        "caption",
        _caption,
        "Caption images, and write no sidecars.\n"
        "Without FILE it asks for paths, one after the other, until the end of the input (Ctrl-D).",
        "  framecap caption dog.jpg beach.png\n  find . -name '*.jpg' | framecap caption --json",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="image: .jpg .jpeg .png .webp")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the alternatives")
    model_flags(parser)


def _add_check(commands: Commands) -> None:
    parser = command(
        commands,
        "check",
        _check,
        "Show the settings and try everything a run needs.\n"
        "The configuration with its secrets masked, the store probed, the bundle verified, what is missing and\n"
        "how to get it.",
        "  framecap check --frames /mnt/bucket/frames",
    )
    parser.add_argument("--all", action="store_true", help="show every setting, also those that are the defaults")
    frames_flag(parser)
    model_flags(parser)


def _run(options: argparse.Namespace) -> int:
    from framecap.cli.commands import run

    config = configuration(options)
    _check_typed(options.source)
    return run(config, lambda: configuration(options), refine=options.refine)


def _capture(options: argparse.Namespace) -> int:
    from framecap.cli.commands import capture

    config = configuration(options)
    _check_typed(options.source)
    return capture(config)


def _check_typed(source: str | None) -> None:
    """A camera that a person has just named should be there now; those of the configuration are waited for."""
    from framecap.capture.source import parse_source

    if source is not None:
        parse_source(source)


def _work(options: argparse.Namespace) -> int:
    from framecap.cli.commands import work

    return work(configuration(options), options.once, lambda: configuration(options))


def _caption(options: argparse.Namespace) -> int:
    from framecap.cli.caption import caption

    return caption(configuration(options), options.files, options.json)


def _check(options: argparse.Namespace) -> int:
    from framecap.cli.check import check

    return check(configuration(options), options.all)
