"""The endpoint of the commands: who is ready when, what `run` shows of two processes, and a port that is taken."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests import command
from tests.capture.mjpeg_camera import MjpegCamera
from tests.telemetry.test_server import ask
from tests.worker.images import encoded, scene

IMAGE = encoded(scene(32, 24))


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command with an endpoint, and its address."""
    with command.start(*arguments, "--metrics-port", "0", cwd=folder) as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                line = process.stderr.readline()
                assert line, "it has ended"
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
            yield process, found[0]
        finally:
            process.kill()


def wait_for(address: str, path: str, status: int) -> str:
    """What is said there when the answer has that status."""
    deadline = time.monotonic() + 40
    while True:
        answer, output = ask(address, path)
        if answer == status:
            return output
        assert time.monotonic() < deadline, output
        time.sleep(0.05)


def test_a_worker_is_alive_at_once_and_ready_when_it_works(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    with started(tmp_path, "work", "--frames", str(tmp_path / "frames")) as (process, address):
        status, output = ask(address, "/readyz")
        assert (status, output) in ((503, "nothing is at work yet, or any more\n"), (200, "ok\n"))
        assert ask(address, "/livez")[0] == 200
        wait_for(address, "/readyz", 200)
        (tmp_path / "frames" / "a.jpg").write_bytes(IMAGE)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["key"] == "a.jpg"
        page = ask(address, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert 'framecap_frames_total{status="captioned"} 1.0' in page
    assert "framecap_last_commit_timestamp_seconds 1." in page
    assert "framecap_pending_frames 0.0" in page
    assert str(tmp_path) not in page


@pytest.mark.faults(18)
def test_a_worker_whose_address_is_away_says_so_and_heals(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    arguments = ("work", "--runtime", "null", "--frames", "frames", "--set", "ingest.scan_seconds=0.1")
    with started(tmp_path, *arguments) as (_, address):
        wait_for(address, "/readyz", 200)
        (tmp_path / "frames").rename(tmp_path / "elsewhere")
        output = wait_for(address, "/readyz", 503)
        assert output.startswith("cannot scan, trying again: cannot open at ")
        assert "No such file or directory" in output
        assert ask(address, "/livez")[0] == 200
        assert "framecap_store_errors_total{operation=" in ask(address, "/metrics")[1]
        (tmp_path / "elsewhere").rename(tmp_path / "frames")
        wait_for(address, "/readyz", 200)


def test_capture_counts_by_camera(tmp_path: Path) -> None:
    camera = MjpegCamera()
    try:
        with started(tmp_path, "capture", camera.url(), "--camera", "door", "--all") as (process, address):
            wait_for(address, "/readyz", 200)
            deadline = time.monotonic() + 30
            while 'framecap_frames_captured_total{camera="door"}' not in (page := ask(address, "/metrics")[1]):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert "live.mjpg" not in page
    finally:
        camera.close()


def test_run_shows_both_of_its_processes(tmp_path: Path) -> None:
    camera = MjpegCamera()
    try:
        with started(tmp_path, "run", camera.url(), "--camera", "door", "--runtime", "null") as (process, address):
            assert ask(address, "/livez") == (200, "ok\n")
            wait_for(address, "/readyz", 200)
            assert process.stdout is not None
            process.stdout.readline()
            deadline = time.monotonic() + 30
            while True:
                page = ask(address, "/metrics")[1]
                captioned = re.search(r'framecap_frames_total\{process="worker",status="captioned"\} (\S+)', page)
                captured = re.search(r'framecap_frames_captured_total\{camera="door",process="capture"\} (\S+)', page)
                if captioned and captured and float(captioned[1]) and float(captured[1]):
                    break
                assert time.monotonic() < deadline, page
                time.sleep(0.1)
            assert page.count("# TYPE framecap_frames_total counter") == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        camera.close()


def test_run_does_not_pass_for_alive_when_one_process_hangs(tmp_path: Path) -> None:
    """The silence is shortened in the process under test: half a minute is long for a test."""
    script = tmp_path / "quick.py"
    script.write_text(
        "import sys\nfrom framecap.telemetry import child_reports\nfrom framecap.cli import main\n"
        "child_reports._SILENCE_SECONDS = 5.0\n"
        "if __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n"
    )
    camera = MjpegCamera()
    try:
        with subprocess.Popen(
            [command.COMMAND[0], script, "run", camera.url(), "--runtime", "null", "--metrics-port", "0"],
            cwd=tmp_path,
            env=command.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            assert found is not None
            wait_for(found[0], "/readyz", 200)
            workers = [child for child in psutil.Process(process.pid).children() if child.children()]
            for child in workers:
                os.kill(child.pid, signal.SIGSTOP)
            assert "has not been heard of for" in wait_for(found[0], "/livez", 503)
            for child in workers:
                os.kill(child.pid, signal.SIGCONT)
            wait_for(found[0], "/livez", 200)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    finally:
        camera.close()


@pytest.mark.parametrize("arguments", [("work",), ("capture", "clip"), ("run", "clip")])
def test_a_port_that_is_taken_ends_it_with_2(tmp_path: Path, clip: Path, arguments: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = [str(clip) if word == "clip" else word for word in arguments]
        done = command.run(*words, "--metrics-port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert f"port {port}: Address already in use" in done.stderr
    assert list(tmp_path.rglob("*.j*")) == []


def test_a_port_that_is_none_ends_it_with_2(tmp_path: Path) -> None:
    assert command.run("work", "--metrics-port", "70000", cwd=tmp_path).returncode == 2
    assert command.run("work", "--metrics-port", "http", cwd=tmp_path).returncode == 2


def test_a_share_that_is_none_ends_it_with_2(tmp_path: Path) -> None:
    for shard in ("0/2", "3/2", "half"):
        assert command.run("work", "--shard", shard, cwd=tmp_path).returncode == 2


def test_the_environment_can_say_the_port(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    settings = {"FRAMECAP__TELEMETRY__PORT": "0"}
    done = command.run("work", "--once", "--runtime", "null", cwd=tmp_path, **settings)
    assert done.returncode == 0
    assert "metrics and health: http://127.0.0.1:" in done.stderr
    assert "metrics and health" not in command.run("work", "--once", "--runtime", "null", cwd=tmp_path).stderr
