"""`framecap refine`, `run --refine` and `check` as a user starts them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import yaml

from framecap.config import StoreConfig
from framecap.sidecars import sidecar as sidecars
from framecap.stores import open_store
from tests import command
from tests.refine.making import commit_first, read, wait_for
from tests.vision_server import VisionServer, completion, vision_server


def has_answered(answered: list[str], enough: int, process: subprocess.Popen[str]) -> bool:
    return len(answered) >= enough or process.poll() is not None


def write_settings(folder: Path, server: VisionServer, **refine: object) -> Path:
    captioner = {"kind": "openai", "openai": {"base_url": server.base_url, "model": "strong", "timeout_seconds": 5}}
    path = folder / "config.yaml"
    section = {"captioner": captioner, "state": str(folder / "state"), **refine}
    path.write_text(yaml.safe_dump({"refine": section, "ingest": {"scan_seconds": 0.1}}))
    return path


def test_run_with_a_second_look_refines_and_ends(clip: Path, tmp_path: Path) -> None:
    with vision_server() as server:
        write_settings(tmp_path, server, when={"uncertain": False, "every_seconds": 0.001}, budget={"per_minute": None})
        done = command.run("run", clip, "--every", "100", "--runtime", "null", "--refine", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = [json.loads(path.read_text()) for path in sorted((tmp_path / "frames").rglob("*.json"))]
        assert [one["caption"] for one in found] == ["A red box."] * 4
        assert all(one["first_look"]["model"]["runtime"] == "null" for one in found)
        assert len(server.requests) == 4


def test_refine_once_with_a_backlog(tmp_path: Path) -> None:
    store = open_store(StoreConfig(frames=str(tmp_path / "frames")))
    commit_first(store, tmp_path / "frames", "door/a.jpg")
    with vision_server() as server:
        write_settings(tmp_path, server)
        for _ in range(2):
            done = command.run("refine", "--once", "--backlog", "1h", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert len(server.requests) == 1
    assert read(store, "door/a.jpg").caption == "A red box."


@pytest.mark.parametrize("arguments", [("refine", "--once"), ("run", "video.mp4", "--refine")])
def test_without_a_second_captioner_it_is_reported_what_to_set(
    tmp_path: Path, clip: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "video.mp4").symlink_to(clip)
    done = command.run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "refine.captioner: not set" in done.stderr


def test_check_probes_the_second_captioner(tmp_path: Path) -> None:
    with vision_server() as server:
        write_settings(tmp_path, server)
        done = command.run("check", "--runtime", "null", cwd=tmp_path)
        assert "second look:" in done.stdout
        assert done.returncode == 0, done.stdout
        server.answer = lambda request: (401, b"{}")
        refused = command.run("check", "--runtime", "null", cwd=tmp_path)
        assert refused.returncode == 2
        assert "401" in refused.stdout


@pytest.mark.faults(41)
def test_kills_lose_no_frame_and_exceed_no_budget(tmp_path: Path, full: bool, figure) -> None:  # type: ignore[no-untyped-def]
    kills, frames = (200, 1000) if full else (5, 30)
    choose = random.Random(1)
    root = tmp_path / "frames"
    store = open_store(StoreConfig(frames=str(root)))
    for number in range(frames):
        commit_first(store, root, f"cam{number % 3}/{number}.jpg")
    answered: list[str] = []

    def answer(request: object) -> tuple[int, bytes]:
        answered.append("")
        return completion()

    with vision_server() as server:
        server.answer = answer
        write_settings(tmp_path, server, budget={"per_minute": None, "per_day": frames + 20 * kills})
        for _ in range(kills):
            process = command.start("refine", "--backlog", "1h", cwd=tmp_path)
            enough = len(answered) + choose.randrange(1, 4)
            wait_for(partial(has_answered, answered, enough, process))
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            if all(read(store, f"cam{n % 3}/{n}.jpg").first_look for n in range(frames)):
                break
        done = command.run("refine", "--once", "--backlog", "1h", cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
    refined = [read(store, f"cam{number % 3}/{number}.jpg") for number in range(frames)]
    assert all(one.first_look is not None and one.first_look.caption == "A dog is running." for one in refined)
    assert all(sidecars.encode(one) for one in refined)
    spare = len(answered) - frames
    assert spare <= 8 * (kills + 1), "no more than the requests in flight at each kill"
    figure(f"{kills} kills over {frames} frames: 0 lost, 0 twice, {spare} requests lost in flight")
