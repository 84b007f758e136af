"""What every room may use to be seen from outside: log lines without credentials, and counters. Imports no other room."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import Counter, Gauge, Histogram

MASK = "***"

# What is secret in a text. A password may hold anything, @ : / and quotes too, so everything up to the last @ before white
# space goes; and, where a password may hold a space, everything up to the last @ before the next address.
_SECRETS = (
    re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://(?P<secret>\S*)@", re.IGNORECASE),
    re.compile(
        r"\b[a-z][a-z0-9+.-]{0,20}://(?P<secret>[^\s/@:]*:(?:(?!\b[a-z][a-z0-9+.-]{0,20}://).)*)@",
        re.IGNORECASE,
    ),
    # user:password@host without a scheme is no address, but somebody may type it
    re.compile(r"(?P<secret>\b[\w.%+-]{1,64}:(?!//)\S+)@(?=[\w.-]+[:/])"),
    re.compile(
        r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|auth(?:orization)?|credential"
        r"|signature|sig|x-amz-[a-z-]+)[\"']?\s*[=:]\s*"
        r"(?P<secret>(?:(?:bearer|basic|digest)\s+)?(?:\"[^\"\n]*\"|'[^'\n]*')?[^\s&]*)",
        re.IGNORECASE,
    ),
)


def mask(text: str) -> str:
    """The text without the credentials in it: user and password of addresses, and values of password-like parameters.

    It rather hides too much than too little: what stands between an address and a later @ may go with the password.
    """
    parts, end = [], 0
    for begin, stop in sorted(match.span("secret") for pattern in _SECRETS for match in pattern.finditer(text)):
        if begin >= end:
            parts += [text[end:begin], MASK]
        end = max(end, stop)
    return "".join(parts) + text[end:]


def mask_all(value: Any) -> Any:
    """A value of JSON kinds (or anything else, as text) with every text in it masked."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {mask(str(key)): mask_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask_all(item) for item in value]
    return mask(str(value))


frames_captured = Counter("framecap_frames_captured_total", "Frames that capture stored", ["camera"])
frames_dropped = Counter("framecap_dropped_frames_total", "Frames that capture dropped", ["camera", "reason"])
source_reconnects = Counter("framecap_source_reconnects_total", "Times a source was opened again", ["camera"])
source_freezes = Counter(
    "framecap_source_freezes_total", "Times a live source went on sending one and the same picture", ["camera"]
)
frames_committed = Counter("framecap_frames_total", "Sidecars committed", ["status"])
stage_seconds = Histogram("framecap_stage_duration_seconds", "Time a frame (or batch) spends in a stage", ["stage"])
pending_frames = Gauge("framecap_pending_frames", "Frames without a sidecar that the worker knows of")
store_errors = Counter("framecap_store_errors_total", "Store operations that failed", ["operation"])


_PLAIN_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
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


class TextLines(logging.Formatter):
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
    handler.setFormatter(TextLines() if style == "text" else JsonLines())
    root = logging.getLogger("framecap")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
