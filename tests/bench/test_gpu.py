"""How busy a GPU is: while every stage of a run has work, by what the driver's tool prints."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.bench.gpu import GpuMonitor, Sample, busy_part, read_samples, saturated

COMMITS = [100 + number / 100 for number in range(101)]  # a second of them


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_what_comes_before_and_after_does_not_count(work: list[int], before: int, after: int) -> None:
    within = [Sample(100.1 + 0.8 * number / 30, percent) for number, percent in enumerate(work)]
    samples = [Sample(90 + number, 50) for number in range(before)] + within + [Sample(100.95 + n, 50) for n in range(after)]
    assert busy_part(samples, COMMITS) == pytest.approx(sum(work) / len(work) / 100)


def test_the_ends_of_a_run_are_not_saturated() -> None:
    assert saturated(COMMITS) == pytest.approx((100.1, 100.9), abs=0.011)
    assert saturated(COMMITS[::-1]) == saturated(COMMITS)
    assert busy_part([Sample(100.05, 0), Sample(100.95, 0)], COMMITS) is None


def test_lines_of_the_tool() -> None:
    printed = "1970/01/01 00:01:00.250, 80\n1970/01/01 00:01:00.350, [N/A]\n1970/01/01 00:01:00.450, 100\n1970/01/01 00:0"
    assert read_samples(printed) == [(60.25, 80), (60.45, 100)]


def test_the_driver_s_tool_is_read_until_the_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says its times in the time zone that it is told, and watches the device that it is told."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\ntrap "exit 0" TERM\necho "$@" > "$0.arguments"\n'
        'for percent in 80 100 "[N/A]"; do echo "$(date "+%Y/%m/%d %H:%M:%S.500"), $percent"; done\n'
        'touch "$0.ready"\nsleep 60 & wait\n'
    )
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    started = time.time()
    with GpuMonitor("GPU-1") as watched:
        while not tool.with_name("nvidia-smi.ready").exists():
            pass
    assert watched.busy([started - 5, time.time() + 5]) == pytest.approx(0.9)
    assert "--id=GPU-1" in tool.with_name("nvidia-smi.arguments").read_text().split()
