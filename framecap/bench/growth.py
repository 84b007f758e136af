"""The part of the table about growth: what more cameras and wider beams cost."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from framecap.bench.captioner import Speed
from framecap.bench.figures import Figure, ReportSection
from framecap.bench.parts import Part, Step, Subject, beside, speed
from framecap.bench.pipeline import PipelineRun, work

_CAMERAS = (1, 16, 64)
_BEAMS = (5, 1, 3, 10)  # the usual one first
_PART = 0.5  # of the images


class Growth(Part):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.cameras: defaultdict[int, list[PipelineRun]] = defaultdict(list)
        self.beams: defaultdict[int, list[Speed]] = defaultdict(list)
        self._images = subject.images[: max(1, round(_PART * subject.size.frames))]

    def steps(self) -> list[Step]:
        turn = [Step(f"{count} cameras", partial(self._work, count)) for count in _CAMERAS]
        turn += [Step(f"beam {beam}", partial(self._search, beam)) for beam in _BEAMS]
        return turn * self.subject.size.runs

    def _work(self, count: int) -> None:
        self.cameras[count].append(work(self.subject.bench, self._images, cameras=count))

    def _search(self, beam: int) -> None:
        self.beams[beam].append(self.subject.model.captioner(beam, _PART))

    def sections(self) -> list[ReportSection]:
        cameras = [row for count in _CAMERAS for row in self._camera_rows(count)]
        usual = [one.frames for one in self.beams[_BEAMS[0]]]
        beams = [
            beside(speed(f"beam.{beam}", f"beam {beam}", self.beams[beam]), usual, f"of beam {_BEAMS[0]}")
            for beam in sorted(_BEAMS)
        ]
        return [
            ReportSection("more cameras, end to end", tuple(cameras)),
            ReportSection("a wider beam, the captioner", tuple(beams)),
        ]

    def _camera_rows(self, count: int) -> list[Figure]:
        worked, one = self.cameras[count], self.cameras[_CAMERAS[0]]
        name, text = f"cameras.{count}", f"{count} camera{'s' * (count > 1)}"
        speeds = Figure(name, text, "frames/s", tuple(each.speed for each in worked))
        memory = Figure(f"{name}.memory", "  memory", "MB", tuple(each.peak / 1e6 for each in worked))
        return [
            beside(speeds, [each.speed for each in one], "of one camera"),
            beside(memory, [each.peak / 1e6 for each in one], "of one camera"),
        ]
