"""The command's edges: help that is quick, tracebacks without credentials, a missing package, an interrupt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import framecap
from framecap.cli import main
from tests import command


@pytest.fixture(autouse=True)
def _hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", lambda details: None)


def test_version(tmp_path: Path) -> None:
    done = command.run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"framecap {framecap.__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("check", "--help")])
def test_help(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = command.run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: framecap")


def test_any_setting_can_be_set_and_a_flag_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "store.frames=elsewhere", "--set", "captioning.runtime='null'", "--set", "captioning.bundle=mine"]
    assert main(["check", *settings]) == 0
    assert "frames: elsewhere\n" in capsys.readouterr().out
    assert main(["check", *settings, "--frames", "here"]) == 0
    assert "frames: here\n" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "here"]


def test_cameras_can_be_set(clip: Path, tmp_path: Path) -> None:
    camera = f"[{{source: {clip}, name: door, every: 100}}]"
    done = command.run("capture", "--set", f"capture.cameras={camera}", cwd=tmp_path)
    assert (done.returncode, len(list(tmp_path.glob("frames/door/**/*.jpg")))) == (0, 4)


BREAK = """
import sys, threading
from framecap.cli import main
from framecap.cli import commands
def broken(*_):
    {how}
commands.run = broken
sys.exit(main(["run", "rtsp://127.0.0.1:9/x"]))
"""


@pytest.mark.parametrize(
    "how",
    [
        "raise RuntimeError('lost rtsp://admin:Qz7Xv@camera/x')",
        "1 / 0 if True else 'rtsp://admin:Qz7Xv@camera'",
        "t = threading.Thread(target=lambda: int('rtsp://admin:Qz7Xv@camera/x')); t.start(); t.join(); raise RuntimeError",
    ],
)
def test_a_traceback_holds_no_password(how: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BREAK.format(how=how)],
        cwd=tmp_path,
        env=command.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "Qz7Xv" not in done.stderr


def test_closed_standard_streams_are_no_hindrance(clip: Path, tmp_path: Path) -> None:
    arguments = [*command.COMMAND, "run", str(clip), "--every", "100", "--runtime", "null"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments],
        cwd=tmp_path,
        env=command.environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert len(list(tmp_path.rglob("*.json"))) == 4


def test_an_output_without_space_is_reported(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command.COMMAND, "check", "--runtime", "null"],
            cwd=tmp_path,
            env=command.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "framecap: cannot write the output: No space left on device\n")


def raising(error: BaseException) -> object:
    def run(config: object, read_again: object, *, refine: bool) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (ImportError("libGL.so.1: cannot open shared object file"), 3, "libGL.so.1"),
        (KeyboardInterrupt(), 1, "interrupted"),
    ],
)
def test_what_is_not_a_framecap_error(
    error: BaseException, exit_code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("framecap.cli.commands.run", raising(error))
    assert main(["run", "rtsp://127.0.0.1:9/x"]) == exit_code
    assert words in capsys.readouterr().err
