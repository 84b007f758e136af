"""The reader process's own decisions, made in this process."""

from __future__ import annotations

import os

import pytest

from framecap.capture import grabbers, reader
from framecap.capture.protocol import Ended, Request


class Enormous:
    """A source whose pictures take gigabytes each; it must not be asked for any."""

    recorded = True
    slack = 0.0
    note = ""
    pixels = reader.MAX_PIXELS + 1.0


@pytest.mark.faults(12)
def test_a_video_of_enormous_pictures_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabbers, "open_grabber", lambda request: Enormous())
    request = Request("video", "/a.mp4", (), None, None, 90, None, 1.0, 1.0)
    pipe = reader.Pipe(os.open(os.devnull, os.O_WRONLY))
    ended = reader._read(request, pipe)
    assert ended == Ended("unreadable", f"its pictures have more than {reader.MAX_PIXELS} pixels")
