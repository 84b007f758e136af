"""Log records in, masked lines out: text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from framecap.telemetry.masking import mask, mask_all

_PLAIN_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, whatever `extra` holds, the traceback; all of it masked."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _PLAIN_RECORD:
                line[name] = mask_all(value)
        if record.exc_info:
            line["traceback"] = mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people, masked; control characters of the message are escaped, so that no name can fake a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = mask(record.getMessage())
        message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        line = f"{record.levelname.lower()}: {message}"
        if record.exc_info:
            line += "\n" + mask(self.formatException(record.exc_info))
        return line


class _ThroughTqdm(logging.StreamHandler[TextIO]):
    """Writes above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=self.stream)
        except (OSError, ValueError):  # the reader of our output has gone: no reason to stop working
            self.handleError(record)


class _Forward(logging.Handler):
    """Gives each finished line to a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


def set_up_logging(level: str, style: str = "auto", stream: TextIO | None = None) -> None:
    """Send the framecap loggers to `stream` (standard error), as `text`, `json`, or by what the stream is (`auto`)."""
    stream = stream or sys.stderr
    if style == "auto":
        style = "text" if stream.isatty() else "json"
    _set_handler(level, style, _ThroughTqdm(stream))


def forward_logging(level: str, style: str, write: Callable[[str], None]) -> None:
    """Send the framecap loggers' lines, as `text` or `json`, to a function (a process that shows them for us)."""
    _set_handler(level, style, _Forward(write))


def _set_handler(level: str, style: str, handler: logging.Handler) -> None:
    handler.setFormatter(TextFormatter() if style == "text" else JsonFormatter())
    root = logging.getLogger("framecap")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
