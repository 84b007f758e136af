"""The part of the table about the start: how long commands take to be ready, and how large the installation is."""

from __future__ import annotations

from framecap.bench.figures import Figure, ReportSection
from framecap.bench.installation import help_seconds, installed_bytes, ready_seconds
from framecap.bench.parts import Part, Step, Subject


class Start(Part):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.helped: list[float] = []
        self.ready: list[float] = []

    def steps(self) -> list[Step]:
        turn = [
            Step("--help", lambda: self.helped.append(help_seconds())),
            Step("work gets ready", lambda: self.ready.append(ready_seconds(self.subject.bench))),
        ]
        return turn * (self.subject.size.runs + 1)  # the first one warms the disk's cache

    def sections(self) -> list[ReportSection]:
        marks = self.subject.marks
        megabytes = installed_bytes() / 1e6
        return [
            ReportSection(
                "start",
                (
                    Figure("start.help", "framecap --help", "s", tuple(self.helped[1:]), mark=marks.help),
                    Figure("start.ready", "framecap work is ready", "s", tuple(self.ready[1:]), mark=marks.ready),
                    Figure("start.installed", "base installation", "MB", (megabytes,), mark=marks.installed),
                ),
            )
        ]
