"""python -m benchmarks.steady: sidecars in; how often a minute captions change from frame to frame, own and steady, out."""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from framecap import read_sidecars
from framecap.sidecars.sidecar import Sidecar


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady", description=__doc__)
    parser.add_argument("frames", type=Path, help="directory of frames that were captioned with worker.steady_captions")
    options = parser.parse_args()
    cameras: defaultdict[str, list[Sidecar]] = defaultdict(list)
    for sidecar in read_sidecars(options.frames):
        if sidecar.caption is not None:
            cameras[sidecar.frame.camera].append(sidecar)
    print(f"{'camera':20} {'frames':>7} {'minutes':>8} {'caption':>8} {'steady':>8}   changes a minute")
    for camera, found in sorted(cameras.items()):
        minutes = (found[-1].frame.captured_at - found[0].frame.captured_at).total_seconds() / 60
        own = changes([sidecar.caption for sidecar in found])
        steady = changes([sidecar.steady_caption or sidecar.caption for sidecar in found])
        print(f"{camera:20} {len(found):7} {minutes:8.2f} {own / minutes:8.1f} {steady / minutes:8.1f}")


def changes(captions: list[str | None]) -> int:
    return sum(before != after for before, after in pairwise(captions))


if __name__ == "__main__":
    main()
