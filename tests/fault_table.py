"""The fault table: the rows' words and pass marks; test reports in, one line a row out, and whether the whole table holds.

A test of a row is marked `@pytest.mark.faults(row)`. It takes `full` (whether `--full` was given) to choose its size, and
`figure` to say what it saw: `figure("200 kills over 2,000 frames: 0 missing, 0 torn, 0 double")`. A row is at its mark when
something tests it and all of that passed: what is skipped or missing is a failure of `make faults`. Only what a GPU is
needed for is skipped where there is none, and the row says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

FULL_TIMEOUT_SECONDS = 1800
MOST_FIGURES = 16  # of a row
NO_GPU = "needs a CUDA device"  # what a skipped test says
_FIGURE = "fault figure"

Item = TypeVar("Item")

ROWS = {
    1: ("kill -9 of the worker at random moments", "200 kills over 2,000 frames: 0 missing, 0 torn, 0 double"),
    2: ("kill -9 at each step of the commit", "every step, on each kind of store: old or new, never torn"),
    3: ("SIGTERM in mid-batch, then a second one", "exit 0 within the grace time; the second ends in 2 s"),
    4: ("120,000 creates in a burst, inotify overflows", "100% within two scans"),
    5: ("a backlog before the start", "10,000 frames, none skipped"),
    6: ("a slow writer, 50 s for one frame", "0 partial reads"),
    7: ("tmp+rename, move-in, a new nested directory", "captioned once, 100% each"),
    8: ("no `closed` events at all (polling only)", "0 missing, 0 double"),
    9: ("JPEG truncated at every 1% of its length", "100 of 100 `failed: truncated`, the decoder's pid unchanged"),
    10: ("bit-flipped JPEGs", "10,000 mutants, 0 crashes"),
    11: ("zero bytes, HTML named .jpg, a directory named x.jpg", "`failed` or ignored; the next frame in under 1 s"),
    12: ("16k x 16k and 60k x 60k PNG", "refused from the header; memory grows by less than 100 MB"),
    13: ("EXIF rotation, grey, CMYK, 16 bit, alpha", "golden pixels, the same in training and serving"),
    14: ("a decoder that crashes or hangs", "fails after 3 tries, others unaffected; at most time-out + 1 s"),
    15: ("CUDA out of memory", "0 lost; the batch size recovers"),
    16: ("NaN or Inf logits", "`failed`, never an empty caption; unready after N in a row"),
    17: ("a beam search that never ends a sentence", "best partial, `truncated: true`; 0 exceptions"),
    18: ("ENOSPC, EIO, EROFS, ENOTCONN on each call", "back off, unready, then heal: nothing lost, nothing double"),
    19: ("S3: 503, SlowDown, time-outs, resets on 30% of calls", "0 lost, attempts within the cap"),
    20: ("a PUT succeeded, its answer lost", "1 object"),
    21: ("two workers on one prefix, by queue and by shards", "10,000 frames, 0 double, extra captioning under 1%"),
    22: ("SQS: duplicate, reordered, odd keys, object deleted", "0 stuck"),
    23: ("a batch that outlasts the visibility time-out", "0 redeliveries"),
    24: ("RTSP: drop, freeze, wrong password, new resolution", "back in 30 s; 0 stale frames labelled new"),
    25: ("capture 10 times faster than captioning, 10 minutes", "memory flat within 5%; every drop counted"),
    26: ("clock jumps, several frames in one millisecond", "0 overwritten"),
    27: ("symlink, `..`, FIFO, newline, very long names", "nothing read outside the root; no hang"),
    28: ("URLs with credentials", "0 leaks in 5,000 cases"),
    29: ("a pickled checkpoint that runs code", "the sentinel file is not created"),
    30: ("YAML tags, unknown keys, wrong types", "exit 2, the key and what is allowed: 100%"),
    31: ("a torn sidecar, an old-schema one, a wrong bundle", "0 crashes"),
    32: ("a frame deleted or replaced while it is worked on", "the sha256 matches what is there"),
    33: ("training killed in mid-epoch and in mid-save", "the same loss; the last good checkpoint loads"),
    34: ("a truncated HDF5; 4 workers by fork and by spawn", "clear error; equal checksums"),
    35: ("a soak with 5% bad input, ten minutes", "memory within 5 MB, descriptors flat, gauges back to 0"),
    36: ("files of other programs under a sidecar's name", "0 of 1,000 changed or deleted; every frame ends or is reported"),
    37: ("an error about one name, object or setting", "that one is reported; `--once` ends; 0 others delayed"),
    41: ("kill -9 of the second look", "200 kills: 0 lost, 0 twice, budget never exceeded"),
}


@dataclass
class _Row:
    """What the tests of one row said."""

    passed: int = 0
    others: list[str] = field(default_factory=list)  # of what did not pass: outcome and test
    seconds: float = 0.0
    figures: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.others:
            return "FAILED"
        return "ok" if self.passed else "NOTHING"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the rows of the fault table in their full size")


@pytest.hookimpl(trylast=True)  # when -m has left some out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the full size a test has half an hour; each process begins with long ones, so that none is left to the end."""
    if not config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("faults") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_SECONDS))
    long = [item for item in items if item.get_closest_marker("long")]
    long.sort(key=lambda item: -item.get_closest_marker("long").args[0])  # type: ignore[union-attr]
    others = [item for item in items if not item.get_closest_marker("long")]
    items[:] = spread(long, others, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def spread(long: list[Item], others: list[Item], processes: int) -> list[Item]:
    """All, in as many equal parts, as `--dist worksteal` deals them: each begins with its share of the long ones."""
    size = (len(long) + len(others)) // processes
    left = list(others)
    parts = []
    for number in range(processes):
        part = long[number::processes]
        wanted = max(size - len(part), 0) if number < processes - 1 else len(left)
        parts.append(part + left[:wanted])
        del left[:wanted]
    return [item for part in parts for item in part]


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    def say(text: str) -> None:
        request.node.user_properties.append((_FIGURE, text))

    return say


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    rows = [row for marker in item.iter_markers("faults") for row in marker.args]
    if rows and (report.when == "call" or report.outcome != "passed"):
        report.fault_rows = rows
    return report


def _table(stats: dict[str, list[pytest.TestReport]]) -> dict[int, _Row]:
    table = {number: _Row() for number in ROWS}
    for outcome, reports in stats.items():
        for report in reports:
            for number in getattr(report, "fault_rows", ()):
                row = table[number]
                row.seconds += report.duration
                row.figures += [text for name, text in report.user_properties if name == _FIGURE]
                if outcome == "passed":
                    row.passed += 1
                elif outcome == "skipped" and NO_GPU in str(report.longrepr):
                    row.figures.append("with a real GPU: not tried, this machine has none")
                else:
                    row.others.append(f"{outcome}: {report.nodeid}")
    return table


def _lines(table: dict[int, _Row]) -> Iterator[str]:
    for number, row in table.items():
        fault, mark = ROWS[number]
        seen = _together(list(dict.fromkeys(row.figures))) or f"{row.passed} tests passed"
        yield f"{number:>3}  {row.verdict:7} {row.seconds:>6.0f} s  {fault} ({mark}): {seen}"
        yield from (f"{'':>23}{text}" for text in row.others)


def _together(figures: list[str]) -> str:
    shown = (
        figures
        if len(figures) <= MOST_FIGURES
        else [*figures[: MOST_FIGURES - 1], f"and {len(figures) - MOST_FIGURES + 1} more"]
    )
    return "; ".join(shown)


def _is_wanted_whole(config: pytest.Config) -> bool:
    """Whether all rows were asked for, as `make faults` does, and not some test of theirs."""
    return bool(config.getoption("--full")) and config.option.markexpr == "faults" and not config.option.keyword


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--full"):
        return
    whole = _is_wanted_whole(config)
    table = {number: row for number, row in _table(terminalreporter.stats).items() if whole or row.verdict != "NOTHING"}
    terminalreporter.section("fault table")
    for line in _lines(table):
        terminalreporter.write_line(line)
    good = sum(row.verdict == "ok" for row in table.values())
    terminalreporter.write_line(f"{good} of {len(table)} rows at their mark")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A row that nothing tested, or whose test was skipped, fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus != pytest.ExitCode.OK or reporter is None or not _is_wanted_whole(session.config):
        return
    if hasattr(session.config, "workerinput"):  # the one that started us judges
        return
    if any(row.verdict != "ok" for row in _table(reporter.stats).values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
