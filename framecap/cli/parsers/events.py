"""The parser of `framecap events`."""

from __future__ import annotations

import argparse

from framecap.cli.parsers.shared import Commands, command, configuration, frames_flag, metrics_flag


def add(commands: Commands) -> None:
    """Add it."""
    parser = command(
        commands,
        "events",
        _events,
        "Do what the rules of config.yaml say for captions that meet them.\n"
        "Follows the sidecars from its first start on, and delivers to webhooks, MQTT brokers, SNS, SQS and\n"
        "commands (events.rules). What it has looked at and what waits to be delivered is on disk: it goes on\n"
        "where it was stopped or killed. An event may come twice, with the same id. Runs until SIGTERM or Ctrl-C.",
        "  framecap events --frames /mnt/bucket/frames\n"
        "  framecap events --frames /mnt/bucket/frames --test dog-at-night\n"
        "  framecap events --frames s3://bucket/cams --dead",
    )
    parser.add_argument("--once", action="store_true", help="end when all was looked at, and delivered as far as it can be")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--test",
        metavar="RULE",
        nargs="?",
        const="",
        help="show which events all sidecars that are there would have made, of RULE or of all rules; send nothing",
    )
    what.add_argument("--dead", action="store_true", help="show the events that were given up")
    what.add_argument("--requeue", action="store_true", help="let the events that were given up wait for delivery again")
    metrics_flag(parser)
    frames_flag(parser)


def _events(options: argparse.Namespace) -> int:
    from framecap.cli import events

    config = configuration(options)
    if options.test is not None:
        return events.test(config, options.test or None)
    if options.dead:
        return events.dead(config)
    if options.requeue:
        return events.requeue(config)
    return events.events(config, options.once)
