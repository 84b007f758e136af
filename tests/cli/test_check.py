"""`framecap check` tells what is there, and ends with the exit code of what is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from framecap.cli import check, main
from framecap.config import Config
from tests import command


def test_all_is_well(tmp_path: Path) -> None:
    done = command.run("check", "--frames", "here", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    settings, _, findings = done.stdout.partition("\nthis machine:\n")
    assert Config.model_validate(yaml.safe_load(settings)).store.frames == "here"
    assert "  NO " not in findings
    for word in ("onnxruntime", "opencv-python-headless", str(tmp_path / "here"), "default, whole", "everything is ready"):
        assert word in findings
    assert list((tmp_path / "here").iterdir()) == []


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command.run(
        "check", "--frames", "file", "--bundle", "none", "--set", "capture.cameras=[{source: none.mp4}]", cwd=tmp_path
    )
    assert done.returncode == 2
    wrong = [line for line in done.stdout.splitlines() if line.startswith("  NO ")]
    assert ["none.mp4" in wrong[0], "is a file" in wrong[1], "none" in wrong[2]] == [True] * 3
    assert "not ready" in done.stdout


def test_what_is_missing_on_this_machine_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", lambda trouble: None)
    monkeypatch.setitem(check._LIBRARIES, "a_library_that_is_not_here", "nothing")
    assert main(["check", "--runtime", "null"]) == 3
    assert "NO  No module named 'a_library_that_is_not_here': pip install" in capsys.readouterr().out
