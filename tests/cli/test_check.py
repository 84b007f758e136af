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


def test_only_settings_that_are_not_the_defaults_are_shown_or_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", lambda details: None)
    changed = ["check", "--runtime", "null", "--set", "train.epochs=7"]
    assert main(changed) == 0
    settings, _, _ = capsys.readouterr().out.partition("\nthis machine:\n")
    assert yaml.safe_load(settings) == {"captioning": {"runtime": "null"}}
    assert "framecap check --all" in settings
    assert main([*changed, "--all"]) == 0
    settings, _, _ = capsys.readouterr().out.partition("\nthis machine:\n")
    every = yaml.safe_load(settings)
    assert (set(every), every["train"]["epochs"]) == (set(Config.model_fields), 7)


@pytest.mark.parametrize(("program", "ready"), [("/bin/sh", True), ("sh", True), ("/bin/nosuch", False), ("./a.txt", False)])
def test_a_command_of_a_rule_must_be_there(program: str, ready: bool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    rules = {"rules": [{"name": "dog", "do": [{"command": {"argv": [program]}}]}]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"events": rules}))
    done = command.run("check", "--runtime", "null", cwd=tmp_path)
    assert done.returncode == (0 if ready else 1)
    assert (f"  NO  dog/command: {program!r} is not there or not executable\n" in done.stdout) is not ready


def test_everything_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
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
    monkeypatch.setattr("threading.excepthook", lambda details: None)
    monkeypatch.setitem(check._LIBRARIES, "a_library_that_is_not_here", "nothing")
    assert main(["check", "--runtime", "null"]) == 3
    assert "NO  No module named 'a_library_that_is_not_here': pip install" in capsys.readouterr().out
