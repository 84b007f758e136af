"""What a scan costs, measured on a small scale: the first pass everything, the next ones what can be new."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.bench.scans import StoreKind, passes
from framecap.ingest.admission import LEAST, LIMIT


@pytest.mark.parametrize("folder", ["directory", "bucket"])
def test_later_passes_cost_in_proportion_to_what_is_new(folder: StoreKind, tmp_path: Path) -> None:
    """2,000 frames of ten cameras in 200 seconds: half of the passes look back some 56 of them."""
    (tmp_path / "frames").mkdir()
    seen = passes(folder, 2_000, 20, tmp_path / "frames")
    assert (seen.first.listed, seen.first.pending, seen.first.requests) == (4_000, 0, 4 if folder == "bucket" else 0)
    assert (seen.lookback.listed, seen.lookback.pending) == (4_000 + 10, 0)
    assert seen.usual.listed <= 10 * (2 * 57 + 1)
    assert (seen.last.pending, seen.new) == (20, 20)
    assert 20e6 < seen.memory < 300e6


def test_a_backlog_is_not_all_in_memory(tmp_path: Path) -> None:
    """What is not is counted all the same."""
    (tmp_path / "frames").mkdir()
    full, more = (passes("bucket", 0, 0, tmp_path / "frames", backlog=backlog) for backlog in (LIMIT, 2 * LIMIT))
    assert [seen.first.pending for seen in (full, more)] == [LIMIT, 2 * LIMIT]
    assert more.memory - full.memory < 10 * LEAST * 1000 + 20e6
