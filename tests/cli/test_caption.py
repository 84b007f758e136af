"""`framecap caption`: files, paths from standard input, a person at a terminal; a bad image does not stop the others."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from framecap.captioning.caption import Caption
from framecap.cli.caption import PROMPT, _Answer, _print
from tests import command


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "with space.webp"):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), 120, np.uint8))
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path


def test_images_are_captioned_in_their_order_and_bad_ones_are_reported(images: Path) -> None:
    files = ["b.png", "page.jpg", "none.jpg", ".", "pipe.jpg", "empty.jpg", "with space.webp", "a.jpg"]
    done = command.run("caption", "--runtime", "null", *files, cwd=images)
    assert done.returncode == 1
    assert done.stdout == "b.png: A picture. (1.00)\nwith space.webp: A picture. (1.00)\na.jpg: A picture. (1.00)\n"
    output = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in output] == ["page.jpg", "none.jpg", ".", "pipe.jpg", "empty.jpg"]
    assert "No such file or directory" in output[1]
    assert "a directory: name images" in output[2]


def test_json_is_one_object_a_line(images: Path) -> None:
    done = command.run("caption", "--json", "--runtime", "null", "a.jpg", "page.jpg", cwd=images)
    first, second = map(json.loads, done.stdout.splitlines())
    sure = {"confidence": 1.0, "uncertain": None, "truncated": False}
    assert first == {"file": "a.jpg", "caption": "A picture.", **sure, "alternatives": []}
    assert second["file"] == "page.jpg"
    assert second["error"]["kind"] == "undecodable"


def test_what_is_no_file_is_shown_without_its_password(images: Path) -> None:
    for arguments in (("caption",), ("caption", "--json")):
        done = command.run(*arguments, "--runtime", "null", "http://admin:Qz7Xv@camera/a.jpg", cwd=images)
        assert done.returncode == 1
        assert "camera/a.jpg" in done.stdout + done.stderr
        assert "Qz7Xv" not in done.stdout + done.stderr


def test_a_name_that_is_no_text_is_shown_all_the_same(images: Path) -> None:
    name = os.fsdecode(b"n\xff.jpg")
    (images / "a.jpg").rename(images / name)
    done = command.run("caption", "--json", "--runtime", "null", name, cwd=images, PYTHONIOENCODING="utf-8:strict")
    assert json.loads(done.stdout)["file"] == name


def test_a_caption_cannot_draw_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _print(_Answer("a.jpg", Caption("A \x1b]0;dog\x07.", 0.5, (), ())), as_json=False)
    assert capsys.readouterr().out == "a.jpg: A \\x1b]0;dog\\x07. (0.50)\n"


def test_paths_come_from_a_pipe(images: Path) -> None:
    done = command.run("caption", "--runtime", "null", cwd=images, given="a.jpg\n\n'with space.webp'\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["a.jpg", "with space.webp"]


def test_a_person_is_asked_and_answered_one_after_the_other(images: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command.COMMAND, "caption", "--runtime", "null"],
        cwd=images,
        env=command.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stderr is not None
        for name in ("a.jpg", "b.png"):
            assert process.stderr.read(len(PROMPT)) == PROMPT
            os.write(ours, f"{name}\n".encode())
            assert process.stdout.readline() == f"{name}: A picture. (1.00)\n"
        os.write(ours, b"\x04")  # Ctrl-D
        assert process.wait(20) == 0
    os.close(ours)


def test_the_model_in_the_box_sees_a_dog(clip: Path, tmp_path: Path) -> None:
    video = cv2.VideoCapture(str(clip))
    _, image = video.read()
    cv2.imwrite(str(tmp_path / "dogs.jpg"), image)
    done = command.run("caption", "--json", "dogs.jpg", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert "dog" in answer["caption"]
    assert len(answer["alternatives"]) == 2


def test_a_reader_that_has_seen_enough_is_no_reason_to_complain(images: Path) -> None:
    process = command.start("caption", "--runtime", "null", *["a.jpg"] * 40, cwd=images)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 1
