"""How busy a GPU is: from the first work to the last, by what the driver's tool prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.bench.gpu import Watched, busy_part


@given(st.lists(st.floats(1, 100), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_what_comes_before_and_after_does_not_count(work: list[float], before: int, after: int) -> None:
    assert busy_part([0.0] * before + work + [0.0] * after) == pytest.approx(sum(work) / len(work) / 100)


def test_pauses_in_between_do() -> None:
    assert busy_part([0, 100, 0, 100, 0]) == pytest.approx(2 / 3)
    assert busy_part([0, 0]) == 0
    assert busy_part([]) == 0


def test_the_driver_s_tool_is_read_until_the_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\ntrap "exit 0" TERM\necho 0; echo 80; echo 100; echo "[N/A]"; touch "$0.ready"\nsleep 60 & wait\n'
    )
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with Watched() as watched:
        while not tool.with_name("nvidia-smi.ready").exists():
            pass
    assert watched.busy() == pytest.approx(0.9)
