"""Log lines: masked, for people or machines, and whatever happens to the stream."""

from __future__ import annotations

import io
import json
import logging

import pytest

from framecap.telemetry import TextFormatter, set_up_logging


def test_a_text_line_cannot_be_faked_by_a_name() -> None:
    record = logging.LogRecord("framecap", logging.WARNING, "f", 1, "a\nerror: fake\x1b[2J", (), None)
    assert TextFormatter().format(record) == "warning: a\\nerror: fake\\x1b[2J"


def test_set_up_logging_writes_json_where_no_one_looks() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream=stream)
    logging.getLogger("framecap.capture").info("opened %s", "rtsp://u:p@h/x", extra={"camera": "door"})
    logging.getLogger("framecap.capture").debug("not said")
    (line,) = stream.getvalue().splitlines()
    assert {k: v for k, v in json.loads(line).items() if k != "time"} == {
        "level": "info",
        "logger": "framecap.capture",
        "message": "opened rtsp://***@h/x",
        "camera": "door",
    }


def test_logging_survives_a_closed_stream(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream)
    stream.close()
    logging.getLogger("framecap").info("nobody listens")
