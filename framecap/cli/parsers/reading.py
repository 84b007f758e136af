"""The parsers of the commands that read captions: export, search, follow."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.cli.parsers.shared import Commands, command, configuration, frames_flag

FORMATS = ("vtt", "srt", "jsonl", "parquet", "coco", "webdataset", "txt", "huggingface")


def add(commands: Commands) -> None:
    """Add them."""
    for add_one in (_add_export, _add_search, _add_follow):
        add_one(commands)


def _add_export(commands: Commands) -> None:
    parser = command(
        commands,
        "export",
        _export,
        "Write captions as files that other programs read.\n"
        "vtt and srt: subtitles, in the video's own time (a live camera's count from its first caption);\n"
        "jsonl and parquet: every sidecar, all of it; coco: results as COCO's tools score them; webdataset, txt\n"
        "(kohya's pairs) and huggingface (an imagefolder): images with their captions. Nothing stands under\n"
        "the name you give before it is whole.",
        "  framecap export --to vtt --camera clip -o clip.vtt\n"
        "  framecap export --to jsonl --since 2026-11-22 --until 2026-11-23 | jq .caption\n"
        "  framecap export --frames s3://bucket/cams --to parquet -o captions.parquet\n"
        "  framecap export --to webdataset -o 'frames-%06d.tar'",
    )
    parser.add_argument("--to", metavar="FORMAT", required=True, choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="file, or folder of txt and huggingface (text: standard output)"
    )
    _choice_flags(parser)
    frames_flag(parser)


def _add_search(commands: Commands) -> None:
    parser = command(
        commands,
        "search",
        _search,
        "Find captions by their words, the best of the newest first.\n"
        'All words must be there, in any order and form (dog, dogs); "words in quotes" stand side by side;\n'
        "runn* is a beginning; -word must not be there. Neighbours that say the same are one line. The index is\n"
        "kept in a cache folder (timeline.index) and brought up to date first; what was deleted or captioned\n"
        "anew long after it was captured is noticed now and then, or with --refresh.",
        "  framecap search dog beach\n  framecap search '\"red ball\" -dog' --camera door --since 2h\n"
        "  framecap search --frames s3://bucket/cams --newest --json car",
    )
    parser.add_argument("words", metavar="WORDS", nargs="*", help="what to look for; nothing: the newest captions")
    parser.add_argument("--limit", metavar="N", type=int, default=20, help="at most so many (default: 20)")
    parser.add_argument("--newest", action="store_true", help="the newest first, not the best")
    parser.add_argument(
        "--refresh", action="store_true", help="look at everything in the store first, not only at what is new"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    _choice_flags(parser)
    frames_flag(parser)


def _add_follow(commands: Commands) -> None:
    parser = command(
        commands,
        "follow",
        _follow,
        "Print each sidecar as it comes, one JSON object a line.\n"
        "Until Ctrl-C or SIGTERM; while the store is away it waits. A frame that is captioned anew comes again.",
        "  framecap follow --frames /mnt/bucket/frames\n  framecap follow --camera door | jq -r .caption\n"
        "  framecap follow --all >> captions.jsonl",
    )
    parser.add_argument("--camera", metavar="NAME", help="only this camera's")
    parser.add_argument("--all", action="store_true", help="first those that are there already, in time order")
    frames_flag(parser)


def _choice_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camera", metavar="NAME", help="only this camera's")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only what was captured from then on: 2026-11-22T10:00 (UTC), or 2h for two hours ago",
    )
    parser.add_argument("--until", metavar="TIME", help="only what was captured before then")


def _export(options: argparse.Namespace) -> int:
    from framecap.cli.export import export

    return export(configuration(options), options.to, options.output, options.camera, options.since, options.until)


def _search(options: argparse.Namespace) -> int:
    from framecap.cli.search import SearchRequest, search

    asked = SearchRequest(
        words=" ".join(options.words),
        camera=options.camera,
        since=options.since,
        until=options.until,
        limit=options.limit,
        newest=options.newest,
        refresh=options.refresh,
    )
    return search(configuration(options), asked, options.json)


def _follow(options: argparse.Namespace) -> int:
    from framecap.cli.follow import follow

    return follow(configuration(options), options.camera, options.all)
