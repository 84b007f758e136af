"""`framecap run` as processes: it ends by itself, by signals, and when one of its processes dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

import framecap
from tests import command


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_frame_of_a_file_gets_its_sidecar_and_a_second_run_adds_nothing(clip: Path, tmp_path: Path) -> None:
    first = command.run("run", clip, "--runtime", "null", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    frames = sorted(tmp_path.rglob("*.jpg"))
    assert len(frames) == 26
    assert [path.with_name(path.name + ".json") for path in frames] == sorted(tmp_path.rglob("*.json"))
    captions = lines(first.stdout)
    assert {str(tmp_path / "frames" / str(line["key"])) for line in captions} == {str(path) for path in frames}
    assert len(captions) == 26
    end = lines(first.stderr)[-1]
    assert (end["captured"], end["captioned"], end["failed"], end["pending"]) == (26, 26, 0, 0)
    assert (tmp_path / str(end["sidecars"])).is_file()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.j*")}
    second = command.run("run", clip, "--runtime", "null", cwd=tmp_path)
    assert second.returncode == 0
    assert second.stdout == ""
    end = lines(second.stderr)[-1]
    assert (end["captured"], end["already_there"], end["captioned"]) == (0, 26, 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.j*")} == before


def test_what_was_there_before_is_captioned_too_and_what_failed_is_reported(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "page.jpg").write_text("<html>")
    done = command.run("run", clip, "--every", "100", "--runtime", "null", cwd=tmp_path)
    assert done.returncode == 1
    (failed,) = (line for line in lines(done.stdout) if line["status"] == "failed")
    assert failed["key"] == "elsewhere/page.jpg"
    assert str(failed["error"]).startswith("undecodable: ")
    assert {sidecar.status for sidecar in framecap.read_sidecars(tmp_path / "frames")} == {"captioned", "failed"}


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on: its camera never answers, and its worker captions what is put into the directory."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"rtsp://admin:Qz7Xv@127.0.0.1:{closed.getsockname()[1]}/stream"
        with command.start("run", address, "--runtime", "null", cwd=tmp_path) as process:
            try:
                caption_one(process, tmp_path)
                assert process.stderr is not None
                while json.loads(process.stderr.readline())["level"] != "warning":  # the camera does not answer
                    pass
                yield process
            finally:
                process.kill()


def caption_one(process: subprocess.Popen[str], folder: Path) -> None:
    """Returns when a frame was captioned: the worker is at work, and capture has been started."""
    frames = folder / "frames"
    deadline = time.monotonic() + 30
    while not frames.exists():  # nothing tells of it
        assert time.monotonic() < deadline
        time.sleep(0.02)
    image = cv2.imencode(".jpg", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()
    (frames / "a.jpg").write_bytes(image)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["key"] == "a.jpg"


def children(process: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """The worker, which has decoders below it, and capture."""
    deadline = time.monotonic() + 30
    while True:
        ours = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
        workers = [child for child in ours if any("decoding.child" in " ".join(c.cmdline()) for c in child.children())]
        if len(ours) == 2 and len(workers) == 1:
            return workers[0], next(child for child in ours if child != workers[0])
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_gone(processes: list[psutil.Process]) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=15)
    return not alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_processes_in_good_order(endless: subprocess.Popen[str], number: signal.Signals) -> None:
    family = psutil.Process(endless.pid).children(recursive=True)
    endless.send_signal(number)
    assert endless.wait(20) == 1  # the camera never answered
    assert endless.stderr is not None
    end = lines(endless.stderr.read())[-1]
    assert (end["captured"], end["captioned"], end["failed"]) == (0, 1, 0)
    assert all_gone(family)


def test_ctrl_c_on_a_terminal_reaches_all_processes_and_the_worker_still_drains(tmp_path: Path, clip: Path) -> None:
    with command.start("run", clip, "--all", "--runtime", "null", cwd=tmp_path, new_session=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        captions = [process.stdout.readline()]
        os.killpg(process.pid, signal.SIGINT)
        captions += process.stdout
        log = process.stderr.read()
        assert process.wait(20) == 0, log
    assert "Traceback" not in log
    end = lines(log)[-1]
    assert end["captioned"] == len(captions) == len(list(tmp_path.rglob("*.json")))
    assert end["captured"] == len(list(tmp_path.rglob("*.jpg")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_processes_that_are_just_starting_ends_them_in_good_order(
    clip: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with command.start("run", clip, "--all", "--runtime", "null", cwd=tmp_path, new_session=True) as process:
        deadline = time.monotonic() + 30
        while not any("spawn_main" in " ".join(child.cmdline()) for child in psutil.Process(process.pid).children()):
            assert time.monotonic() < deadline
        os.killpg(process.pid, number)
        _out, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "died" not in log


@pytest.mark.parametrize("which", ["worker", "capture"])
def test_a_process_that_dies_is_noticed_and_reported(endless: subprocess.Popen[str], which: str) -> None:
    worker, capture = children(endless)
    (worker if which == "worker" else capture).kill()
    assert endless.stderr is not None
    log = endless.stderr.read()
    assert endless.wait(20) == 1
    assert f"the {which} process died (signal 9)" in log
    assert all_gone([worker, capture])


def test_children_of_a_parent_that_died_end(endless: subprocess.Popen[str]) -> None:
    family = psutil.Process(endless.pid).children(recursive=True)
    endless.kill()
    assert all_gone(family)


def test_no_process_of_ours_shows_the_password(endless: subprocess.Popen[str]) -> None:
    children(endless)
    family = psutil.Process(endless.pid).children(recursive=True)
    assert len(family) >= 4  # worker, capture, decoders; a reader comes and goes
    assert "Qz7Xv" not in " ".join(" ".join(process.cmdline()) for process in family if process.is_running())


def test_a_reader_that_has_seen_enough_does_not_stop_the_work(clip: Path, tmp_path: Path) -> None:
    process = command.start("run", clip, "--runtime", "null", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    log = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 0
    assert "BrokenPipe" not in log
    assert len(list(tmp_path.rglob("*.json"))) == 26


@pytest.mark.faults(18)
def test_an_output_without_space_does_not_stop_the_work(clip: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = [*command.COMMAND, "run", str(clip), "--runtime", "null"]
        subprocess.run(arguments, cwd=tmp_path, env=command.environment(), stdout=full, stderr=full, timeout=60, check=False)
    assert len(list(tmp_path.rglob("*.json"))) == 26


BREAK = """
import sys
from framecap.cli import main
from framecap.app.console import Console
def broken(self, said):
    raise RuntimeError("a defect")
Console.show_caption = broken
if __name__ == "__main__":
    sys.exit(main(["run", sys.argv[1], "--runtime", "null"]))
"""


def test_a_parent_that_fails_does_not_wait_for_its_children_for_ever(clip: Path, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BREAK)
    done = subprocess.run(
        [sys.executable, script, clip],
        cwd=tmp_path,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "a defect" in done.stderr


def test_where_only_scans_find_frames_the_run_waits_for_a_scan(clip: Path, tmp_path: Path) -> None:
    done = command.run("run", clip, "--every", "100", "--runtime", "null", "--set", "ingest.hints=off", cwd=tmp_path)
    assert done.returncode == 0
    assert lines(done.stderr)[-1]["captioned"] == 4
