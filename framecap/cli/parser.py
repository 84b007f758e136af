"""The arguments of every command in; a namespace whose `run` does what was asked out. Imports nothing heavy."""

from __future__ import annotations

import argparse

import framecap
from framecap.cli.parsers import events, looking, measuring, reading, refine, running, upkeep
from framecap.cli.parsers.shared import Formatter, Parser

EXIT_CODES = """exit codes:
  0  all done
  1  one or more frames failed; see the log
  2  wrong use or configuration
  3  something is missing on this machine; the message says how to get it
"""
SETTINGS = """Settings come from flags, then the environment (FRAMECAP__STORE__FRAMES=/mnt/frames), then config.yaml of
the working directory or the file given with --config, then their defaults. A camera's password is best kept in config.yaml
or the environment: others on the machine can see a command line."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="framecap",
        description="Frames in, one JSON caption sidecar per frame out, losing nothing.",
        epilog=f"{SETTINGS}\n\n{EXIT_CODES}",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"framecap {framecap.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (running, reading, looking, events, refine, upkeep, measuring):
        group.add(commands)
    return parser
