"""Signals to a real worker process: the first drains it, the second ends it, and its decoders with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from framecap.runtime.signals import FORCED_EXIT_CODE, stop_on_signals
from tests.worker.fakes import check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

GOOD = encoded(scene(32, 24))


@contextmanager
def driver(root: Path, seconds: float, grace: float = 20.0) -> Iterator[subprocess.Popen[str]]:
    """A worker process that is in the middle of a batch."""
    command = [sys.executable, "-m", "tests.worker.driver", str(root), str(seconds), str(grace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "captioning\n"
            yield process
        finally:
            process.kill()


def decoders_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    return children


@pytest.mark.faults(3)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(tmp_path: Path, number: signal.Signals, figure: Callable[[str], None]) -> None:
    fill(tmp_path, {f"a/{n:03d}.jpg": GOOD for n in range(200)})
    with driver(tmp_path, seconds=0.2) as process:
        children = decoders_of(process)
        began = time.monotonic()
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
        seconds = time.monotonic() - began
    assert process.returncode == 0
    committed = [line for line in out.splitlines() if line.startswith("a/")]
    there = [path.relative_to(tmp_path).as_posix().removesuffix(".json") for path in tmp_path.rglob("*.json")]
    assert sorted(committed) == sorted(there)
    assert 4 <= len(committed) <= 40  # the hand was drained, the other frames were left
    assert out.splitlines()[-1] == f"summary {len(committed)}"
    assert not psutil.wait_procs(children, timeout=2)[1]
    figure(f"{number.name}: drained {len(committed)} frames in {seconds:.1f} s, exit 0")
    rest = work(local_store(tmp_path))
    assert rest.summary.captioned == 200 - len(committed)
    check_oracle(tmp_path, rest.committed)


@pytest.mark.faults(3)
def test_the_second_signal_forces(tmp_path: Path, figure: Callable[[str], None]) -> None:
    fill(tmp_path, {f"a/{n:03d}.jpg": GOOD for n in range(20)})
    with driver(tmp_path, seconds=60) as process:
        children = decoders_of(process)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(2)
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() - began < 2
            time.sleep(0.01)
        seconds = time.monotonic() - began
    assert process.returncode == FORCED_EXIT_CODE
    assert seconds < 2
    figure(f"the second signal ended it in {seconds:.2f} s")


@pytest.mark.faults(3)
def test_the_grace_time_is_kept(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n:03d}.jpg": GOOD for n in range(20)})
    with driver(tmp_path, seconds=60, grace=1.0) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert time.monotonic() - began < 5
    assert out.splitlines()[-1] == "summary 0"


@pytest.mark.faults(1)
@pytest.mark.long(9)
def test_a_killed_worker_is_resumed_and_leaves_no_decoder_behind(
    tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    count, most = (2000, 200) if full else (100, 3)
    kills = 0
    fill(tmp_path, {f"a/{n:04d}.jpg": GOOD for n in range(count)})
    committed: list[str] = []
    while kills < most and len(committed) < count - 40:
        with driver(tmp_path, seconds=0.002) as process:
            children = decoders_of(process)
            assert process.stdout is not None
            committed += [line.strip() for line, _ in zip(process.stdout, range(kills % 7), strict=False) if "/" in line]
            process.kill()
            kills += 1
            committed += [line.strip() for line in process.stdout if line.endswith(".jpg\n")]
        assert not psutil.wait_procs(children, timeout=5)[1]
    rest = work(local_store(tmp_path))
    assert len(check_oracle(tmp_path, rest.committed)) == count
    assert len(committed) == len(set(committed))
    assert not set(committed) & {made.frame.key for made in rest.committed}
    figure(f"{kills} kills over {count} frames: 0 missing, 0 torn, 0 double")


def test_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_importing_the_worker_handles_no_signal_and_needs_no_codec() -> None:
    code = (
        "import signal, sys; before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT);"
        "import framecap.worker.run, framecap.runtime.signals;"
        "assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT));"
        "assert 'cv2' not in sys.modules and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
