"""The reader process's own decisions, made in this process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from framecap.capture import grabbers, reader
from framecap.capture.protocol import Ended, Request
from tests import command


class Enormous:
    """A source whose images take gigabytes each; it must not be asked for any."""

    recorded = True
    slack = 0.0
    note = ""
    pixels = reader.MAX_PIXELS + 1.0


@pytest.mark.faults(12)
def test_a_video_of_enormous_images_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabbers, "open_grabber", lambda request: Enormous())
    request = Request("video", "/a.mp4", (), None, None, 90, None, 1.0, 1.0)
    pipe = reader.Pipe(os.open(os.devnull, os.O_WRONLY))
    ended = reader._read(request, pipe)
    assert ended == Ended("unreadable", f"its images have more than {reader.MAX_PIXELS} pixels")


def test_a_stream_cannot_make_its_reader_take_all_memory() -> None:
    """A camera that announces an image of two gigabytes is told, by FFmpeg's own error, that there is no memory."""
    code = (
        "from framecap.capture.reader import limit_memory\n"
        "limit_memory(100 << 20)\n"
        "held = bytearray(50 << 20)\n"
        "try:\n    bytearray(60 << 20)\nexcept MemoryError:\n    print('no more')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=command.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "no more\n"
