"""The part of the table about this machine: what its matrix products, and a GPU's memory, reach."""

from __future__ import annotations

import statistics

from framecap.bench.figures import Figure, ReportSection
from framecap.bench.machine import Peak, measure_peaks
from framecap.bench.parts import Part, Step, beside, rate, scaled


class Limits(Part):
    """See the module."""

    peak: Peak

    def steps(self) -> list[Step]:
        return [Step("matrix products", self._measure)]

    def _measure(self) -> None:
        self.peak = measure_peaks(self.subject.device)
        self.subject.fp32_limit = statistics.median(self.peak.fp32)

    def sections(self) -> list[ReportSection]:
        bf16 = rate("machine.bf16", "matrix product, bf16", self.peak.bf16, self.peak.missing)
        rows = [
            rate("machine.fp32", "matrix product, fp32", self.peak.fp32),
            beside(bf16, scaled(self.peak.fp32, 1e-9), "of fp32"),
        ]
        if self.peak.copy:
            rows.append(Figure("machine.copy", "copy in the GPU's memory", "GB/s", scaled(self.peak.copy, 1e-9)))
        return [ReportSection("this machine", tuple(rows))]
