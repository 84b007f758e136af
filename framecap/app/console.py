"""What is seen of a run: captions, log lines and counts in; text on a terminal, JSON lines elsewhere, out."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from framecap.sidecars.sidecar import Sidecar
from framecap.telemetry import mask, mask_all


@dataclass(frozen=True, slots=True)
class CaptionSummary:
    """What is shown of a committed sidecar."""

    status: str
    key: str
    camera: str
    captured_at: str
    position: float | None
    caption: str | None
    confidence: float | None
    uncertain: bool | None
    error: str | None

    @staticmethod
    def of(sidecar: Sidecar) -> CaptionSummary:
        frame, error = sidecar.frame, sidecar.error
        return CaptionSummary(
            status=sidecar.status,
            key=frame.key,
            camera=frame.camera,
            captured_at=frame.captured_at.isoformat(timespec="milliseconds"),
            position=frame.position,
            caption=sidecar.caption,
            confidence=sidecar.confidence,
            uncertain=sidecar.uncertain,
            error=f"{error.kind}: {error.message}" if error else None,
        )


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in numbers; None where that part did not run. `pending` frames were left for the next run."""

    captured: int | None
    already_there: int | None
    dropped: int | None
    captioned: int | None
    duplicate: int | None
    skipped: int | None
    failed: int | None
    pending: int | None
    seconds: float | None
    frames_per_second: float | None
    frames: str
    sidecars: str | None  # one of them
    spooled: int | None = None  # frames that wait on local disk for the store
    subtitles: tuple[str, ...] | None = None  # files, one of each recording


class Console:
    """Captions go to standard output; the progress bar, log lines and the summary to standard error.

    Whether text or JSON is written is decided for each of the two: `auto` is text on a terminal. A reader that has gone away
    or a full disk stops the showing, not the work.
    """

    def __init__(self, style: str) -> None:
        self._text_out = _is_text(sys.stdout, style)
        self._text_errors = _is_text(sys.stderr, style)
        self._one_terminal = self._text_out and self._text_errors and _same_terminal(sys.stdout, sys.stderr)
        self._done = 0
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=0, unit=" frames", file=sys.stderr, dynamic_ncols=True, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def log_style(self) -> str:
        """How log lines are written here: text or json."""
        return "text" if self._text_errors else "json"

    def show_caption(self, output: CaptionSummary) -> None:
        """A sidecar was committed. On one terminal a failed frame has its line by then: the log's."""
        if not (output.error and self._one_terminal and logging.getLogger("framecap").isEnabledFor(logging.WARNING)):
            self._write(for_people(output) if self._text_out else for_machines(output), sys.stdout)
        self.advance()

    def advance(self) -> None:
        """One frame more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(1)

    def expect(self, frames: int) -> None:
        """There are so many frames in all, as far as is known."""
        if self._bar is not None:
            self._bar.total = max(frames, self._done)
            self._bar.update(0)  # shows it, but not more often than a person can read

    def expect_more(self, frames: int) -> None:
        """There are so many frames still to be done, as far as is known."""
        self.expect(self._done + frames)

    def log(self, line: str) -> None:
        """A finished log line of another process."""
        self._write(line, sys.stderr)

    def summary(self, summary: RunSummary) -> None:
        """The end of a run."""
        if self._text_errors:
            self._write(summary_for_people(summary), sys.stderr)
            return
        line = {"time": _now(), "level": "info", "logger": __name__, "message": "the run has ended"}
        self._write(_json({**line, **_without_none(asdict(summary))}), sys.stderr)

    def _write(self, text: str, stream: TextIO) -> None:
        with _showing_may_fail():
            tqdm.write(text, file=stream)
            stream.flush()


def for_people(output: CaptionSummary) -> str:
    """One line: when, which camera, what is seen, how sure."""
    when = output.captured_at if output.position is None else clock(output.position)
    if output.caption is None:
        what = f"{output.status}: {output.error}" if output.error else output.status
    else:
        before = " (as before)" if output.status == "duplicate" else ""
        what = f"{output.caption}{sureness(output.confidence, output.uncertain)}{before}"
    name = output.key if output.error else output.camera
    return printable(f"{name}  {when}  {what}")


def sureness(confidence: float | None, uncertain: bool | None) -> str:
    """How sure the model is, as it stands behind a caption; nothing where it does not say."""
    if confidence is None:
        return ""
    return f" ({confidence:.2f}, uncertain)" if uncertain else f" ({confidence:.2f})"


def for_machines(output: CaptionSummary) -> str:
    """One line of JSON."""
    line = {"time": _now(), "level": "warning" if output.error else "info", "logger": __name__, "message": output.status}
    return _json({**line, **_without_none(asdict(output))})


def summary_for_people(summary: RunSummary) -> str:
    parts = [
        _count(summary.captured, "captured"),
        _count(summary.already_there, "there already", always=False),
        _count(summary.dropped, "dropped", always=False),
        _count(summary.spooled, "waiting in the spool", always=False),
        _count(summary.captioned, "captioned"),
        _count(summary.duplicate, "duplicate"),
        _count(summary.skipped, "skipped"),
        _count(summary.failed, "failed"),
        _count(summary.pending, "still pending", always=False),
    ]
    frames = ", ".join(part for part in parts if part)
    done = (summary.captioned, summary.duplicate, summary.skipped, summary.failed)
    speed = f"; {summary.frames_per_second:.1f} frames/s" if summary.frames_per_second is not None else ""
    lines = [f"frames: {frames}{speed}"]
    if any((summary.captured, summary.already_there, *done, summary.pending)):
        sidecars = f", their sidecars such as {summary.sidecars}" if summary.sidecars else ""
        lines.append(f"they are in {summary.frames}{sidecars}")
    if summary.subtitles:
        lines.append(f"subtitles: {', '.join(summary.subtitles)}")
    return mask("\n".join(printable(line) for line in lines))


def clock(seconds: float) -> str:
    """Seconds from the start as hours, minutes and seconds: 0:00:07.50."""
    minutes, rest = divmod(round(seconds, 2), 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:05.2f}"


def printable(text: str) -> str:
    """The text with its control characters escaped, so that no name can draw on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(rows: list[list[str]]) -> list[str]:
    """Names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _count(number: int | None, word: str, always: bool = True) -> str:
    return f"{number} {word}" if number or (always and number is not None) else ""


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(values: dict[str, Any]) -> str:
    return json.dumps(mask_all(values), ensure_ascii=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_text(stream: TextIO, style: str) -> bool:
    return stream.isatty() if style == "auto" else style == "text"


def _same_terminal(one: TextIO, other: TextIO) -> bool:
    if not (one.isatty() and other.isatty()):
        return False
    with suppress(OSError, ValueError):
        return os.path.sameopenfile(one.fileno(), other.fileno())
    return False


@contextmanager
def _showing_may_fail() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):  # the pipe's reader has ended, the disk is full, or the stream is closed
        return
