"""The bench that the tests of scans work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.scan_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "frames").mkdir()
    return Bench((tmp_path / "frames").resolve())
