"""The fault table itself: a row that failed, was skipped or is tested by nothing fails the run of the whole table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault_table import ROWS, spread

pytest_plugins = ["pytester"]

ONE_OF_EACH = """
from pathlib import Path

import pytest

@pytest.mark.faults(1)
def test_first(figure):
    figure("200 kills")

@pytest.mark.faults(1)
@pytest.mark.faults(2)
def test_second(full):
    assert full

@pytest.mark.faults(3)
def test_skipped():
    pytest.skip("no server")

@pytest.mark.faults(4)
def test_failed(figure):
    figure("1 missing")
    assert False
"""


def run(pytester: pytest.Pytester, *arguments: str, test: str = ONE_OF_EACH) -> pytest.RunResult:
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess("-p", "tests.fault_table", "-p", "no:cacheprovider", "--full", *arguments)


def test_each_row_is_one_line_with_its_words_verdict_and_figures(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    seen = run(pytester, "-m", "faults", "--numprocesses", "2")
    seen.stdout.re_match_lines(
        [
            r" +1  ok +0 s  kill -9 of the worker.*: 200 kills$",
            r" +2  ok .*: 1 tests passed$",
            r" +3  FAILED ",
            r" +skipped: .*test_skipped",
            r" +4  FAILED .*: 1 missing$",
            r" +failed: .*test_failed",
            r" +5  NOTHING ",
            rf"2 of {len(ROWS)} rows at their mark",
        ],
    )
    assert seen.ret == 1


def test_a_row_that_nothing_tests_fails_the_whole_table_only(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    good = "import pytest\n\n@pytest.mark.faults(1)\ndef test_good():\n    pass\n"
    assert run(pytester, "-m", "faults", test=good).ret == 1
    one = run(pytester, "-m", "faults", "-k", "good", test=good)
    assert one.ret == 0
    one.stdout.fnmatch_lines(["1 of 1 rows at their mark"])


@pytest.mark.parametrize(("longs", "others", "processes"), [(0, 5, 3), (3, 30, 3), (5, 31, 3), (4, 2, 2), (2, 9, 1)])
def test_each_process_begins_with_long_ones(longs: int, others: int, processes: int) -> None:
    dealt = spread([f"long {number}" for number in range(longs)], [str(number) for number in range(others)], processes)
    assert len(set(dealt)) == len(dealt) == longs + others
    size = len(dealt) // processes
    begins = {dealt[number * size] for number in range(min(processes, longs))}
    assert begins >= {f"long {number}" for number in range(min(processes, longs, others))}


def test_the_document_has_the_rows() -> None:
    page = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()
    for number, (fault, mark) in ROWS.items():
        assert f"| {number} | {fault} | {mark} |" in page
