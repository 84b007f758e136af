"""What all tests share: `--full` for the fault table's full size, and the table itself.

A test of a row of the fault table is marked `@pytest.mark.faults(row)`. It takes `full` (whether `--full` was given) to
choose its size, and `figure` to say what it saw: `figure("200 kills over 2,000 frames: 0 missing, 0 torn, 0 double")`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.s3"]

CLIP = Path(__file__).parents[1] / "samples" / "clip.mp4"
FULL_TIMEOUT_SECONDS = 1800
_FIGURE = "fault figure"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the rows of the fault table in their full size")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if config.getoption("--full") and item.get_closest_marker("faults") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_SECONDS))


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    def say(text: str) -> None:
        request.node.user_properties.append((_FIGURE, text))

    return say


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
def _logging_as_it_was() -> Iterator[None]:
    """A command sets logging up for its process, which in some tests is pytest's."""
    logger = logging.getLogger("framecap")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    marker = item.get_closest_marker("faults")
    if marker is not None and (report.when == "call" or report.failed):
        report.fault_rows = marker.args
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = []
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            for row in getattr(report, "fault_rows", ()):
                said = "; ".join(text for name, text in report.user_properties if name == _FIGURE)
                lines.append((row, report.nodeid.partition("::")[2], outcome, f"{report.duration:.1f} s", said))
    if lines and config.getoption("--full"):
        terminalreporter.section("fault table")
        for row, name, outcome, duration, said in sorted(lines):
            terminalreporter.write_line(f"{row:>3}  {outcome:7} {duration:>8}  {name}" + (f": {said}" if said else ""))
