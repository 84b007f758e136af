"""Bad input gets one clear line that says what to do, and the right exit code."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest

from framecap.cli import main
from tests import command


def output(*arguments: str | Path, cwd: Path, **settings: str) -> tuple[int, str]:
    done = command.run(*arguments, cwd=cwd, **settings)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def exit_code(*arguments: str) -> int:
    """Of the command in this process."""
    try:
        return main(arguments)
    except SystemExit as end:  # argparse's own way out
        return int(end.code or 0)


@pytest.fixture(autouse=True)
def _hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets them for its process, which here is pytest's."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def test_no_such_file(tmp_path: Path) -> None:
    code, text = output("run", "holiday.mp4", cwd=tmp_path)
    assert code == 2
    assert text == "framecap: source 'holiday.mp4': No such file or directory: check the path\n"
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize("command_name", ["run", "capture"])
def test_a_camera_that_is_typed_and_not_plugged_in(
    command_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(command_name, "/dev/video97") == 2
    assert "camera /dev/video97 is not there: plug it in" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_empty_directory_as_source(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    code, text = output("run", "photos", cwd=tmp_path)
    assert code == 2
    assert "holds no images" in text


def test_no_source_at_all(tmp_path: Path) -> None:
    code, text = output("run", cwd=tmp_path)
    assert code == 2
    assert "name a source" in text


def test_an_empty_directory_of_frames_is_done_at_once(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    code, text = output("work", "--once", "--runtime", "null", cwd=tmp_path)
    assert code == 0
    assert '"captioned": 0' in text


def test_an_address_that_work_had_to_make_is_a_warning(tmp_path: Path) -> None:
    code, text = output(
        "work", "--once", "--runtime", "null", "--frames", "mistyped", cwd=tmp_path, FRAMECAP__LOG__LEVEL="warning"
    )
    assert (code, (tmp_path / "mistyped").is_dir()) == (0, True)
    assert "mistyped was not there, it is made now" in text


@pytest.mark.parametrize("arguments", [("run", "clip"), ("work", "--once"), ("caption", "x.jpg"), ("check",)])
def test_missing_bundle(arguments: tuple[str, ...], clip: Path, tmp_path: Path) -> None:
    arguments = tuple(str(clip) if argument == "clip" else argument for argument in arguments)
    done = command.run(*arguments, "--bundle", "models/mine", "--runtime", "onnx", cwd=tmp_path)
    assert done.returncode == 2
    assert "models/mine" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_bundle_is_found_before_frames_are_captured(clip: Path, tmp_path: Path) -> None:
    _, text = output("run", clip, "--bundle", "models/mine", "--runtime", "onnx", cwd=tmp_path)
    assert not list(tmp_path.iterdir()), "not even a store"
    assert "the run has ended" not in text


@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        (("check", "--set", "captioning.bean=3"), {}, "'captioning.bean': did you mean 'captioning.beam'?"),
        (("check",), {"FRAMECAP__STORE__FRAME": "x"}, "'store.frame': did you mean 'store.frames'?"),
        (("check", "--set", "captioning.beam=many"), {}, "captioning.beam: a whole number is expected, got 'many'"),
        (("check", "--set", "captioning.beam"), {}, "KEY=VALUE is expected"),
        (("check", "--config", "none.yaml"), {}, "none.yaml: cannot be read (No such file or directory)"),
        (("check", "--runtime", "tensorflow"), {}, "captioning.runtime: Input should be 'auto', 'onnx', 'torch' or 'null'"),
        (("run", "--fps", "3"), {}, "--fps belongs to a SOURCE"),
        (("run", "a.mp4", "--fps", "0"), {}, "capture.cameras.0.fps: Input should be greater than 0, got 0"),
        (("run", "a.mp4", "--fps", "2", "--all"), {}, "not allowed with argument"),
        (("work", "--frames", "s3:///cams"), {}, "store.frames: 's3:///cams': s3://bucket/prefix is expected"),
        (
            ("work", "--frames", "s3://bucket/cams/../x"),
            {},
            "the prefix has an empty part, '.', '..' or a control character",
        ),
        (
            ("work", "--frames", "gs://bucket/cams"),
            {},
            "'gs://bucket/cams': a directory, or s3://bucket/prefix, is expected",
        ),
        (
            ("work", "--frames", "s3://bucket/cams", "--set", "store.s3.endpoint=weed:8333"),
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            "store.s3.endpoint: 'weed:8333': an address such as http://127.0.0.1:8333 is expected",
        ),
        (("sing",), {}, "invalid choice: 'sing'"),
        (("exprot",), {}, "did you mean 'export'?\n"),
        (("export", "--to", "csvv"), {}, "usage: framecap export"),
        (("export", "--to", "vvt"), {}, "did you mean 'vtt'?\n"),
        (("export", "--to", "vtt", "--outptu=x"), {}, "unrecognized arguments: --outptu=x: did you mean '--output'?\n"),
        (("export", "--to", "vtt", "x"), {}, "usage: framecap export"),
        ((), {}, "required: COMMAND"),
    ],
)
def test_wrong_use(
    arguments: tuple[str, ...],
    settings: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert exit_code(*arguments) == 2
    assert expected in capsys.readouterr().err


def test_wrong_key_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("worker:\n  batchsize: 4\n")
    code, text = output("work", "--once", cwd=tmp_path)
    assert (code, text) == (2, "framecap: config.yaml: unknown key 'worker.batchsize': did you mean 'worker.batch_size'?\n")


def test_a_file_in_address_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("not a directory")
    code, text = output("work", "--once", "--runtime", "null", cwd=tmp_path)
    assert code == 2
    assert "is a file: give a directory" in text


def test_frames_that_the_store_refused_are_no_success(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "clip").write_text("a file where the camera's folder belongs")
    code, text = output("capture", clip, cwd=tmp_path)
    assert code == 1
    assert '"captured": 0' in text
    assert '"dropped": 26' in text


def test_an_unreachable_stream_is_reported_and_tried_again_until_stopped(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and not listening: nobody else gets the port, and nobody answers
        closed.bind(("127.0.0.1", 0))
        address = f"rtsp://admin:Qz7Xv@127.0.0.1:{closed.getsockname()[1]}/stream"
        with command.start("run", address, "--runtime", "null", cwd=tmp_path) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "does not answer" in line:
                    process.terminate()
            assert process.wait(20) == 1
    text = "".join(lines)
    assert "Traceback" not in text
    assert "Qz7Xv" not in text
    assert "rtsp://***@127.0.0.1" in text


def test_a_password_in_the_configuration_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("capture: {cameras: [{source: 'rtsp://admin:Qz7Xv@camera/stream?token=Qz7Xv'}]}")
    done = command.run("check", "--runtime", "null", cwd=tmp_path)
    assert done.returncode == 0
    assert "Qz7Xv" not in done.stdout + done.stderr
    assert "rtsp://***@camera/stream" in done.stdout
