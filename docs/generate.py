"""The parsers and the sidecar's schema in; docs/command-line.md and framecap/sidecar.schema.json out (`make docs`)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from framecap.cli.parser import make_parser
from framecap.sidecars import sidecar

ROOT = Path(__file__).parents[1]
HEAD = """# The command line

This page is made from the commands' own help by `make docs`; a test compares the two.
"""


def command_line() -> str:
    """The reference page."""
    parser = make_parser()
    return HEAD + "".join(section(one) for one in (parser, *commands(parser)))


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def section(parser: argparse.ArgumentParser) -> str:
    return f"\n## {parser.prog}\n\n```\n{parser.format_help().rstrip()}\n```\n"


def schema() -> str:
    """The schema file."""
    return json.dumps(sidecar.json_schema(), indent=1, ensure_ascii=False) + "\n"


def pages() -> dict[Path, str]:
    """Every generated file and its text."""
    return {ROOT / "docs" / "command-line.md": command_line(), ROOT / "framecap" / "sidecar.schema.json": schema()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
