"""Reports of several processes in, what one process says of itself out: their metrics together, and their health."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.registry import REGISTRY

from framecap.telemetry.checks import health

REPORT_SECONDS = 2.0
_SILENCE_SECONDS = 30.0  # of a process; it may be loading a model


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What a process has to say."""

    not_alive: list[str]
    not_ready: list[str]
    metrics: list[Metric]


def report_until_the_end(tell: Callable[[ChildReport], None]) -> None:
    """In a thread of its own, tell about this process every REPORT_SECONDS."""

    def run() -> None:
        while True:
            tell(ChildReport(health.not_alive(), health.not_ready(), list(REGISTRY.collect())))
            time.sleep(REPORT_SECONDS)

    threading.Thread(target=run, name="telemetry", daemon=True).start()


@dataclass(slots=True)
class _Process:
    heard: float = field(default_factory=time.monotonic)
    report: ChildReport | None = None
    over: bool = False


class ChildReports:
    """Processes by name; each sample gets their name as the label `process`. Safe to use from several threads."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._processes: dict[str, _Process] = {}

    def started(self, name: str) -> None:
        self._processes[name] = _Process()

    def heard(self, name: str, report: ChildReport) -> None:
        process = self._processes[name]
        process.report, process.heard = report, time.monotonic()

    def over(self, name: str) -> None:
        """It has ended; what it counted stays."""
        self._processes[name].over = True

    def not_alive(self) -> list[str]:
        problems = []
        for name, process in self._running():
            silent = time.monotonic() - process.heard
            if silent > _SILENCE_SECONDS:
                problems.append(f"{name} has not been heard of for {silent:.0f} s")
            elif process.report is not None:
                problems += [f"{name}: {problem}" for problem in process.report.not_alive]
        return problems

    def not_ready(self) -> list[str]:
        problems = self.not_alive()
        for name, process in self._running():
            if process.report is None:
                problems.append(f"{name} is starting")
            else:
                problems += [f"{name}: {problem}" for problem in process.report.not_ready]
        problems += [f"{name} is not started yet" for name in self._names if name not in self._processes]
        return list(dict.fromkeys(problems))

    def collect(self) -> Iterable[Metric]:
        together: dict[str, Metric] = {}
        for name, process in tuple(self._processes.items()):
            for metric in process.report.metrics if process.report else ():
                merged = together.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type, metric.unit)
                )
                merged.samples += [sample._replace(labels={**sample.labels, "process": name}) for sample in metric.samples]
        return together.values()

    def _running(self) -> list[tuple[str, _Process]]:
        return [(name, process) for name, process in tuple(self._processes.items()) if not process.over]
