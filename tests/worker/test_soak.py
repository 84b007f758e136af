"""A worker over a long time, with bad input among the good (row 35): it neither grows nor leaks, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.soak import BUDGET_BYTES, BUDGET_FILES, soak


@pytest.mark.faults(35)
@pytest.mark.long(11)
def test_a_worker_neither_grows_nor_leaks(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    seen = soak(tmp_path, 600 if full else 16, 60, "null")
    figure(str(seen))
    assert (seen.pending_at_end, seen.oldest_pending_seconds, seen.healthy) == (0, 0, True)
    assert seen.statuses["failed"] == pytest.approx(seen.bad, rel=0.2)
    assert seen.memory[1] - seen.memory[0] < BUDGET_BYTES
    assert seen.files[1] <= seen.files[0] + BUDGET_FILES
