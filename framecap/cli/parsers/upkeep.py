"""The parsers of the commands that look after a store and its model: status, retry, recaption, gate, reconcile, prune."""

from __future__ import annotations

import argparse
from pathlib import Path

from framecap.cli.parsers.shared import (
    Commands,
    command,
    configuration,
    frames_flag,
    model_flags,
    queue_flag,
)


def add(commands: Commands) -> None:
    """Add them."""
    for add_one in (_add_status, _add_retry, _add_recaption, _add_gate, _add_reconcile, _add_prune):
        add_one(commands)


def _add_status(commands: Commands) -> None:
    parser = command(
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
    frames_flag(parser)


def _add_retry(commands: Commands) -> None:
    parser = command(
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
    frames_flag(parser)
    model_flags(parser)


def _add_recaption(commands: Commands) -> None:
    parser = command(
        commands,
        "recaption",
        _recaption,
        "Caption again what an older model captioned.\n"
        "Every sidecar is read (see status). The frames whose captions that model wrote are captioned by the model\n"
        "that the settings name, in this process, and the new sidecar takes the place of the old one. Where the new\n"
        "model fails, the old caption stays. Workers may run meanwhile, and to kill it loses nothing: started\n"
        "again it goes on where it stopped.",
        "  framecap recaption --frames /mnt/bucket/frames --model 577c9871c15a --dry-run\n"
        "  framecap recaption --frames /mnt/bucket/frames --model default --bundle bundles/v2",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        required=True,
        help="name of the older model, its hash or the hash's beginning (6 digits or more), as its sidecars say",
    )
    parser.add_argument("--camera", metavar="NAME", help="only this camera's frames")
    parser.add_argument("--dry-run", action="store_true", help="show which frames, and do nothing")
    frames_flag(parser)
    model_flags(parser)


def _add_gate(commands: Commands) -> None:
    parser = command(
        commands,
        "gate",
        _gate,
        "Compare a new bundle with the model in use, on a golden set.\n"
        "A golden set is a folder of ten images or more, best of your own cameras. Beside an image a.jpg may stand\n"
        "a.jpg.txt: what people would say of it, one caption a line. With such references the captions are scored\n"
        "(CIDEr-D, BLEU-4); without, only calibrated confidences are compared. It shows which captions change, and\n"
        "ends with 0 when the new bundle passes, else with 1.",
        "  framecap gate bundles/v2 --golden golden\n  framecap gate bundles/v2 --golden golden --min-gain 1 --json",
    )
    parser.add_argument("new", metavar="NEW_BUNDLE", help="folder of the new bundle")
    parser.add_argument("--golden", metavar="DIR", type=Path, required=True, help="folder of the golden set")
    parser.add_argument(
        "--min-gain",
        metavar="POINTS",
        type=float,
        default=0.0,
        help="CIDEr-D that the new one must have more (default: 0); without references: hundredths of confidence",
    )
    parser.add_argument(
        "--min-speed",
        metavar="PART",
        type=float,
        default=0.5,
        help="part of the old one's speed it must have (default: 0.5)",
    )
    parser.add_argument("--show", metavar="N", type=int, default=20, help="changed captions that are shown (default: 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object, all captions in it")
    model_flags(parser)


def _add_reconcile(commands: Commands) -> None:
    parser = command(
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
    queue_flag(parser, "SQS queue to put them on")
    frames_flag(parser)


def _add_prune(commands: Commands) -> None:
    parser = command(
        commands,
        "prune",
        _prune,
        "Delete old frames, each with its sidecar.\n"
        "A frame's age is counted from when it was captured (the time in its key; for frames of other\n"
        "programs, the file's own). Frames without a sidecar stay, whatever their age, and so does everything\n"
        "that is no frame and no sidecar of one. On a terminal it shows what would go and asks; anywhere else\n"
        "it needs --yes (or --dry-run). Workers may run meanwhile, and to kill it does no harm: run it again.",
        "  framecap prune --frames /mnt/bucket/frames --older-than 30d --dry-run\n"
        "  framecap prune --frames s3://bucket/cams --older-than 30d --keep-failed --yes\n"
        "  framecap prune --older-than 12h --camera door",
    )
    parser.add_argument("--older-than", metavar="AGE", required=True, help="such as 45m, 12h, 30d or 8w")
    parser.add_argument("--camera", metavar="NAME", help="only this camera's frames")
    parser.add_argument("--keep-failed", action="store_true", help="leave failed frames (every sidecar is read for that)")
    parser.add_argument("--pending", action="store_true", help="frames without a sidecar, too: they will never get one")
    parser.add_argument(
        "--orphans",
        action="store_true",
        help="sidecars whose frame has gone, too (they go anyway where no store.sidecars is set)",
    )
    asking = parser.add_mutually_exclusive_group()
    asking.add_argument("--dry-run", action="store_true", help="show how many, and delete nothing")
    asking.add_argument("--yes", action="store_true", help="do not ask")
    frames_flag(parser)


def _prune(options: argparse.Namespace) -> int:
    from framecap.cli.prune import prune
    from framecap.upkeep.prune import OldFrame, time_before

    config = configuration(options)
    return prune(
        config,
        OldFrame(
            before=time_before(options.older_than),
            camera=options.camera,
            failed=not options.keep_failed,
            pending=options.pending,
            orphans=options.orphans or config.store.sidecars is None,
        ),
        options.dry_run,
        options.yes,
    )


def _status(options: argparse.Namespace) -> int:
    from framecap.cli.status import status

    return status(configuration(options), options.quick, options.json)


def _retry(options: argparse.Namespace) -> int:
    from framecap.cli.retry import retry

    return retry(configuration(options), options.camera, options.kind, options.dry_run)


def _recaption(options: argparse.Namespace) -> int:
    from framecap.cli.retry import recaption

    return recaption(configuration(options), options.model, options.camera, options.dry_run)


def _gate(options: argparse.Namespace) -> int:
    from framecap.cli.gate import gate
    from framecap.upkeep.gate import Thresholds

    thresholds = Thresholds(options.min_gain, options.min_speed)
    return gate(configuration(options), options.new, options.golden, thresholds, options.show, options.json)


def _reconcile(options: argparse.Namespace) -> int:
    from framecap.cli.reconcile import reconcile

    return reconcile(configuration(options), options.older_than, options.dry_run)
