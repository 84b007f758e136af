"""The parser of the command that measures: bench."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.bench import FRAMES, PARTS, RUNS
from framecap.cli.parsers.shared import Commands, command, configuration, model_flags


def add(commands: Commands) -> None:
    """Add it."""
    parser = command(
        commands,
        "bench",
        _bench,
        "Measure how fast this machine captions.\n"
        "One table: this machine, the model alone, end to end, the naive loop, latencies, growth, near-duplicates,\n"
        "the start; each figure beside another of the same run, and beside its mark where there is one. The\n"
        "machine should have nothing else to do meanwhile.\n"
        "Frames are written below TMPDIR (/tmp): set it to measure another disk.",
        "  framecap bench\n  framecap bench photos/ --full --json > figures.json\n"
        "  framecap bench --only captioner,pipeline --set captioning.beam=3",
    )
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="?",
        type=Path,
        help="folder of images, or a video, to measure with (default: made)",
    )
    parser.add_argument("--full", action="store_true", help="what takes long, too: latency at every rate, large stores")
    parser.add_argument("--only", metavar="PARTS", help=f"some parts, such as captioner,pipeline: {', '.join(PARTS)}")
    parser.add_argument("--frames", metavar="N", type=int, default=FRAMES, help=f"frames of a run (default: {FRAMES})")
    parser.add_argument("--runs", metavar="N", type=int, default=RUNS, help=f"runs of what is compared (default: {RUNS})")
    parser.add_argument("--json", action="store_true", help="one JSON object, with the values of every run")
    model_flags(parser)


def _bench(options: argparse.Namespace) -> int:
    from framecap.bench.parts import Size
    from framecap.cli.bench import bench
    from framecap.errors import ConfigError

    parts = tuple(options.only.split(",")) if options.only else PARTS
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ConfigError(f"--only: there is no part {unknown[0]!r}: take some of {', '.join(PARTS)}")
    if options.frames < 1 or options.runs < 1:
        raise ConfigError("--frames and --runs: at least 1 is expected")
    size = Size(frames=options.frames, runs=options.runs, full=options.full, parts=parts)
    return bench(configuration(options), size, options.images, options.json)
