"""framecap as a process of its own: only the settings it is given, what it costs, and a line when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from framecap.bench.children import Bench, MeasurementFailed, cpu_seconds, environment, peak_bytes, proportional_bytes, wait
from framecap.config import Config


def test_settings_of_the_environment_do_not_reach_it() -> None:
    given = environment({"FRAMECAP__INGEST__QUEUE": "https://sqs/1", "HOME": "/root", "PYTHONPATH": "/x"})
    assert given["HOME"] == "/root"
    assert "FRAMECAP__INGEST__QUEUE" not in given
    assert given["PYTHONPATH"].split(os.pathsep)[1:] == ["/x"]


def test_it_gets_the_model_and_the_worker_and_nothing_of_the_stores(tmp_path: Path) -> None:
    config = Config.model_validate({"store": {"frames": "s3://secret"}, "captioning": {"beam": 3}, "worker": {"queue": 7}})
    made = yaml.safe_load(Bench(tmp_path, config).settings(captioning={"runtime": "null"}).read_text())
    assert "store" not in made
    assert (made["captioning"]["beam"], made["captioning"]["runtime"], made["worker"]["queue"]) == (3, "null", 7)
    assert made["worker"]["near_duplicates"] == {"enabled": False}
    assert Config.model_validate(made).captioning.beam == 3


def test_what_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match="framecap work ended with 2: framecap: "):
        Bench(tmp_path, Config()).run("work", "--set", "nothing")


def test_cost_and_memory_of_a_process_and_its_children() -> None:
    code = (
        "import os, sys\nheld = bytearray(50_000_000)\nchild = os.fork()\n"
        "if not child:\n    held[::4096] = b'x' * len(held[::4096])\n"
        "print('here', flush=True)\nsys.stdin.read()\nif child: os.wait()\nfor _ in range(10**6): pass\n"
    )
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"here\n"] * 2
    assert proportional_bytes(process.pid) > 90e6  # both wrote their own
    assert 50e6 < peak_bytes(process.pid) < 90e6
    assert cpu_seconds(process.pid) >= 0
    process.stdin.close()
    cost = wait(process, started)
    process.stdout.close()
    assert process.returncode == 0
    assert 0 < cost.cpu_seconds <= cost.seconds * 4


def test_the_memory_of_a_run_is_its_own(tmp_path: Path) -> None:
    """rusage would count what this process holds when it starts the other one."""
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    frames = tmp_path / "frames"
    frames.mkdir()
    ran = Bench(tmp_path, Config()).run("work", "--once", "--runtime", "null", "--frames", frames)
    assert peak_bytes(os.getpid()) > 300e6
    assert 20e6 < ran.peak < 250e6
    assert ran.lines[-1]["captioned"] == 0
    del held
