"""What is said of a machine, and how a rate is measured."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from framecap.bench import machine
from framecap.bench.machine import Peak, cpu_model, describe


def test_the_processor_s_name_is_the_kernel_s(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: A Fast One\n\nprocessor\t: 1\nmodel name\t: A Fast One\n")
    assert cpu_model(cpuinfo) == "A Fast One"
    assert cpu_model(tmp_path / "none")  # the architecture
    assert describe().split()[1] == "cores,"


def test_a_rate_is_the_work_by_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SECONDS", 0.05)
    rates = machine._rates(lambda: time.sleep(0.01), lambda: None, 1.0)
    assert len(rates) == 3
    assert all(50 < rate <= 101 for rate in rates) or all(rate <= 101 for rate in rates)


def test_what_needs_torch_says_so() -> None:
    assert "pip install" in Peak((1.0,), ()).missing
    assert not Peak((1.0,), (1.0,)).missing
