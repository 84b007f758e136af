"""What is shown: text on a terminal, JSON elsewhere, nothing that a name could fake, no credentials."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest

from framecap.app.console import CaptionSummary, Console, RunSummary, clock, for_machines, for_people, summary_for_people
from tests import command

DOG = CaptionSummary("captioned", "door/a.jpg", "door", "2026-11-22T10:00:00.000+00:00", 67.5, "A dog.", 0.43, False, None)
END = RunSummary(3, 0, None, 2, 1, 0, 0, 0, 1.5, 2.0, "./frames", "./frames/door/a.jpg.json")


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (DOG, "door  0:01:07.50  A dog. (0.43)"),
        (replace(DOG, position=None), "door  2026-11-22T10:00:00.000+00:00  A dog. (0.43)"),
        (replace(DOG, status="duplicate"), "door  0:01:07.50  A dog. (0.43) (as before)"),
        (replace(DOG, status="skipped", caption=None), "door  0:01:07.50  skipped"),
        (
            replace(DOG, status="failed", caption=None, error="empty: no bytes"),
            "door/a.jpg  0:01:07.50  failed: empty: no bytes",
        ),
        (replace(DOG, uncertain=True), "door  0:01:07.50  A dog. (0.43, uncertain)"),
        (replace(DOG, camera="a\nb\x1b[2J"), "a\\nb\\x1b[2J  0:01:07.50  A dog. (0.43)"),
    ],
)
def test_a_line_for_people(output: CaptionSummary, line: str) -> None:
    assert for_people(output) == line


def test_a_line_for_machines() -> None:
    line = json.loads(for_machines(replace(DOG, error="x rtsp://u:Qz7Xv@h", caption=None)))
    assert "Qz7Xv" not in str(line)
    assert (line["key"], line["level"], line["position"]) == ("door/a.jpg", "warning", 67.5)
    assert "caption" not in line


def test_the_summary_names_what_happened_and_where_the_sidecars_are() -> None:
    assert summary_for_people(END) == (
        "frames: 3 captured, 2 captioned, 1 duplicate, 0 skipped, 0 failed; 2.0 frames/s\n"
        "they are in ./frames, their sidecars such as ./frames/door/a.jpg.json"
    )
    some = replace(END, already_there=4, dropped=5, pending=6)
    assert "4 there already, 5 dropped, " in summary_for_people(some)
    assert ", 6 still pending; " in summary_for_people(some)


def test_no_frames_are_nowhere() -> None:
    none = replace(END, captured=0, captioned=0, duplicate=0, frames_per_second=None, sidecars=None)
    assert summary_for_people(none) == "frames: 0 captured, 0 captioned, 0 duplicate, 0 skipped, 0 failed"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00.00"), (59.999, "0:01:00.00"), (3599.99, "0:59:59.99"), (36000, "10:00:00.00")]
)
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_style_decides_over_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("text", "json", "auto"):
        with Console(style) as console:
            console.show_caption(DOG)
            console.summary(END)
    out, errors = capsys.readouterr()
    assert out.splitlines()[0] == "door  0:01:07.50  A dog. (0.43)"
    assert all(json.loads(line)["caption"] == "A dog." for line in out.splitlines()[1:])
    assert errors.splitlines()[0].startswith("frames: 3 captured")
    assert all(json.loads(line)["captured"] == 3 for line in errors.splitlines()[2:])


def test_a_stream_that_is_closed_stops_the_showing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    with Console("text") as console:
        console.show_caption(DOG)
        console.show_caption(DOG)
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_on_a_terminal_there_are_lines_a_bar_and_a_summary(clip: Path, tmp_path: Path) -> None:
    code, text = on_a_terminal("run", clip, "--every", "50", "--runtime", "null", cwd=tmp_path)
    assert code == 0
    assert text.count("A picture. (1.00)") == 7
    assert "clip  0:00:04.17  A picture. (1.00)" in text
    assert re.search(r"\d/\d .*frames/s", text), "the bar"
    assert "frames: 7 captured, 7 captioned, 0 duplicate, 0 skipped, 0 failed; " in text
    assert '{"' not in text


@pytest.mark.parametrize(("apart", "lines"), [(False, 1), (True, 2)])
def test_a_failed_frame_has_one_line_on_a_terminal(apart: bool, lines: int, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "page.jpg").write_text("no image")
    arguments = ["work", "--once", "--runtime", "null", "--set", "log.format=text"]
    code, text = on_a_terminal(*arguments, cwd=tmp_path, apart=apart)
    assert code == 1
    assert text.count("it starts with 'no image'") == lines


def on_a_terminal(*arguments: object, cwd: Path, apart: bool = False) -> tuple[int, str]:
    """framecap's exit code and all that it shows on a terminal; `apart`: but standard output, which comes last."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        [*command.COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=command.environment(TERM="xterm"),
        stdin=theirs,
        stdout=subprocess.PIPE if apart else theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while part := read(ours):
        shown += part
    os.close(ours)
    shown += process.communicate(timeout=20)[0] or b""
    return process.returncode, shown.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # on Linux the end of a terminal is an error
        return b""
