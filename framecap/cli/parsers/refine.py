"""The parser of `framecap refine`."""

from __future__ import annotations

import argparse

from framecap.cli.parsers.shared import Commands, command, configuration, frames_flag, metrics_flag


def add(commands: Commands) -> None:
    """Add it."""
    parser = command(
        commands,
        "refine",
        _refine,
        "Caption again, with a stronger captioner, the frames that deserve it.\n"
        "Follows the sidecars from its first start on. Frames that meet refine.when are captioned by refine.captioner\n"
        "within refine.budget, and its caption replaces the first one. First captions are never delayed. Runs until\n"
        "SIGTERM or Ctrl-C; the cursor and the spent budget are on disk.",
        "  framecap refine --frames /mnt/bucket/frames\n"
        "  framecap refine --once --backlog 24h\n"
        "  framecap refine --frames s3://bucket/cams --shard 1/2 --metrics-port 9465",
    )
    parser.add_argument("--once", action="store_true", help="end when no frame waits for a second look")
    parser.add_argument("--backlog", metavar="AGE", help="also frames captioned so long before the first start, such as 24h")
    parser.add_argument("--shard", metavar="I/N", help="take the I-th of N shares of the cameras and of the budget")
    metrics_flag(parser)
    frames_flag(parser)


def _refine(options: argparse.Namespace) -> int:
    from framecap.cli.refine import refine
    from framecap.upkeep.prune import parse_age

    backlog = None if options.backlog is None else parse_age(options.backlog, "--backlog")
    return refine(configuration(options), once=options.once, backlog=backlog)
