"""A store and the page over it, for the tests of the viewer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.viewer.served import Page, page_over


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """An empty store."""
    path = tmp_path / "frames"
    path.mkdir()
    return path


@pytest.fixture
def page(frames: Path, tmp_path: Path) -> Iterator[Page]:
    """The page over it."""
    with page_over(frames, tmp_path / "index") as page:
        yield page
