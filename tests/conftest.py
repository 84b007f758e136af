"""What all tests share: servers, the clip, a tiny bundle, nobody's settings; the fault table is a plugin of its own."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.s3", "tests.fault_table"]

CLIP = Path(__file__).parents[1] / "samples" / "clip.mp4"


@pytest.fixture(scope="session")
def clip() -> Path:
    """The shipped clip: 25.5 seconds, 306 frames."""
    return CLIP


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights, 64 pixels: see tests/tiny.py."""
    from tests.tiny import make_bundle

    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests are not the tests'."""
    for name in [name for name in os.environ if name.startswith("FRAMECAP__")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_in_a_new_process() -> None:
    """A command sets logging up for its process; in tests, and in fixtures of a whole module, that may be pytest's."""
    logger = logging.getLogger("framecap")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
