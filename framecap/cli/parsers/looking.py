"""The parser of the command for those who look: view."""

from __future__ import annotations

import argparse

from framecap.cli.parsers.shared import Commands, command, configuration, frames_flag, model_flags


def add(commands: Commands) -> None:
    """Add it."""
    parser = command(
        commands,
        "view",
        _view,
        "Show frames and captions as they come, on a web page.\n"
        "The newest frame of every camera, what came last, search, a timeline, and for each frame where the\n"
        "model looked for each word. It listens on this machine only; to listen elsewhere it wants a token\n"
        "(viewer.token in config.yaml, or FRAMECAP__VIEWER__TOKEN). Runs until Ctrl-C or SIGTERM.",
        "  framecap view\n  framecap view --frames /mnt/bucket/frames --port 9000\n  framecap view --frames s3://bucket/cams",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="listen there (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", type=int, help="and on this port; 0 is a free one (default: 8080)")
    frames_flag(parser)
    model_flags(parser)


def _view(options: argparse.Namespace) -> int:
    from framecap.cli.view import view

    return view(configuration(options))
