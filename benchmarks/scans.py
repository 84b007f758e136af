"""python -m benchmarks.scans: how many frames are done and how many new in; what scans of them cost, as a table, out."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from framecap.bench.scans import Pass, StoreKind, passes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scans", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="frames with a sidecar (1000000)")
    parser.add_argument("--new", type=int, default=100, help="frames that appear without one (100)")
    parser.add_argument("--backlog", type=int, default=0, help="frames without one from the beginning (0)")
    parser.add_argument("--place", choices=("directory", "bucket"), action="append", help="both")
    options = parser.parse_args()
    print(f"{'place':10}  {'pass':20} {'seconds':>8} {'entries':>10} {'requests':>9} {'pending':>10}")
    for store in options.store or ("directory", "bucket"):
        measure(store, options.frames, options.new, options.backlog)


def measure(store: StoreKind, frames: int, new: int, backlog: int) -> None:
    with tempfile.TemporaryDirectory(prefix="framecap-scans-") as root:
        folder = Path(root) / "frames"
        folder.mkdir()
        seen = passes(store, frames, new, folder, backlog)
    rows: list[tuple[str, Pass]] = [
        (f"{seen.frames:,} done", seen.first),
        ("all of the lookback", seen.lookback),
        ("as half of them", seen.usual),
        (f"{seen.new:,} new", seen.last),
    ]
    for what, one in rows:
        print(f"{store:10}  {what:20} {one.seconds:8.2f} {one.listed:10,} {one.requests:9,} {one.pending:10,}")
    print(f"{store:10}  memory {seen.memory / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
