"""python -m benchmarks.fleet_costs: cameras, rates and list prices in; requests, bytes, workers and dollars a month out.

The prices are list prices of us-east-1 as they were known in 2025, in US dollars. They change: check them before you decide.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from benchmarks.measured import FRAME_BYTES, SIDECAR_BYTES, WORKER_RATE

MONTH = 30 * 86_400  # seconds
HOURS = 730  # of a month, as AWS counts
GB = 1e9

S3_PUT = 0.005 / 1000  # LIST costs the same
S3_GET = 0.0004 / 1000
S3_STORAGE = ((50_000, 0.023), (450_000, 0.022), (math.inf, 0.021))  # GB, dollars a GB and month
SQS = 0.40 / 1_000_000
INSTANCE = 0.10264  # c7a.large on demand, an hour: 2 vCPUs that are two cores (AMD EPYC)
SPOT = 0.4  # of that, roughly


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is to be paid for."""

    cameras: int = 10_000
    fps: float = 1.0
    frame_bytes: int = FRAME_BYTES
    sidecar_bytes: int = SIDECAR_BYTES
    days_kept: int = 7
    worker_rate: float = WORKER_RATE
    load: float = 0.8  # of what the workers could do

    @property
    def rate(self) -> float:
        return self.cameras * self.fps

    @property
    def workers(self) -> int:
        return math.ceil(self.rate / self.worker_rate / self.load)


def storage(gigabytes: float) -> float:
    """Dollars a month: the first ones are dearer."""
    dollars = 0.0
    for size, price in S3_STORAGE:
        part = min(gigabytes, size)
        dollars += part * price
        gigabytes -= part
    return dollars


def costs(fleet: Fleet) -> list[tuple[str, str, float]]:
    """What, how much of it, dollars a month."""
    frames = fleet.rate * MONTH
    kept = fleet.rate * 86_400 * fleet.days_kept * (fleet.frame_bytes + fleet.sidecar_bytes) / GB
    return [
        ("S3: PUT of frames", _millions(frames), frames * S3_PUT),
        ("S3: PUT of sidecars", _millions(frames), frames * S3_PUT),
        ("S3: GET and HEAD, two each a frame", _millions(4 * frames), 4 * frames * S3_GET),
        (f"S3: storage, {fleet.days_kept} days", f"{kept / 1000:,.0f} TB", storage(kept)),
        ("SQS: S3's messages, one each", _millions(frames), frames * SQS),
        ("SQS: receive and delete, ten at a time", _millions(frames / 5), frames / 5 * SQS),
        ("EC2: workers, on demand", f"{fleet.workers} c7a.large", fleet.workers * INSTANCE * HOURS),
    ]


def scan_lists(fleet: Fleet, workers: int) -> float:
    """LIST requests of one pass of all of `workers` that scan the bucket instead of reading a queue.

    Each lists every camera from its watermark on, frames and sidecars: 1/64 of the lookback (an hour) every other time,
    1/32 every fourth, and so on (framecap/stores/listing.py), a thousand keys in a request; and the list of cameras.
    """
    parts = [number & -number or 64 for number in range(64)]
    pages = [math.ceil(2 * fleet.fps * 3600 * part / 64 / 1000) for part in parts]
    return workers * (fleet.cameras * sum(pages) / len(pages) + math.ceil(fleet.cameras / 1000))


def report(fleet: Fleet) -> str:
    rows = costs(fleet)
    lines = [
        f"{fleet.cameras:,} cameras, {fleet.rate:,.0f} frames/s, {fleet.rate * fleet.frame_bytes * 8 / 1e9:.1f} Gbit/s, "
        f"{fleet.workers} workers of {fleet.worker_rate:.0f} frames/s at {fleet.load:.0%}",
        "",
        f"{'what':40}{'a month':>18}{'dollars a month':>18}",
        *(f"{what:40}{much:>18}{dollars:18,.0f}" for what, much, dollars in rows),
        f"{'in all':58}{sum(row[2] for row in rows):18,.0f}",
    ]
    return "\n".join(lines)


def report_scan(fleet: Fleet, seconds: int) -> str:
    """The same fleet without a queue: what its LIST requests cost."""
    lists = scan_lists(fleet, fleet.workers)
    return (
        f"Without a queue, a pass each {seconds} s: {lists:,.0f} LIST requests a pass, {lists / seconds:,.0f} a second, "
        f"{lists / seconds * MONTH * S3_PUT:,.0f} dollars a month"
    )


def _millions(number: float) -> str:
    return f"{number / 1e6:,.0f} million"


def main() -> None:
    usual = Fleet()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_costs", description=__doc__.partition("\n")[0])
    parser.add_argument("--cameras", type=int, default=usual.cameras, help="cameras (10000)")
    parser.add_argument("--fps", type=float, default=usual.fps, help="frames a second and camera (1)")
    parser.add_argument(
        "--worker-rate", type=float, default=usual.worker_rate, help=f"frames a second and worker ({WORKER_RATE:.0f})"
    )
    parser.add_argument("--days-kept", type=int, default=usual.days_kept, help="days that frames are kept (7)")
    parser.add_argument("--scan-seconds", type=int, default=60, help="between two passes of a fleet that scans (60)")
    options = parser.parse_args()
    fleet = Fleet(options.cameras, options.fps, worker_rate=options.worker_rate, days_kept=options.days_kept)
    print(report(fleet), report_scan(fleet, options.scan_seconds), sep="\n\n")


if __name__ == "__main__":
    main()
