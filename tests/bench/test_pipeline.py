"""Images captioned by a worker: each as often as asked for, and when its sidecar was written."""

from __future__ import annotations

import time
from pathlib import Path

from framecap.bench.children import Bench
from framecap.bench.images import make_images
from framecap.bench.pipeline import work
from framecap.config import Config


def test_every_image_is_captioned_in_every_round(tmp_path: Path) -> None:
    image_files = make_images(tmp_path / "images", 3, None)
    started = time.time()
    done = work(Bench(tmp_path, Config()), image_files, cameras=2, rounds=4, captioning={"runtime": "null"})
    assert (done.frames, done.summary["captioned"], len(done.commits)) == (12, 12, 12)
    assert started - 1 < min(done.commits) <= max(done.commits) < time.time() + 1  # a file system's clock is coarse
    assert done.peak > 20e6
