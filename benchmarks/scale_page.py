"""python -m benchmarks.scale_page: one worker's measured figures in; the tables and the image of docs/scale.md out."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.fleet import draw, percentile, summary, table
from benchmarks.fleet_costs import Fleet, report, report_scan
from benchmarks.fleet_model import Settings, simulate
from benchmarks.measured import FRAME_BYTES, SIDECAR_BYTES, WORKER_RATE

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
IMAGE = PAGE.parent / "images" / "fleet.png"
SCAN_SECONDS = 60
SCALING = ((500, 0.0), (2000, 0.0), (5000, 0.0), (Settings().messages_per_worker, Settings().planned_rate))


def measured() -> str:
    return "\n".join(
        [
            "| measured | figure | by |",
            "| --- | --- | --- |",
            "| a worker, end to end, two cores of a cloud machine (Intel Xeon with AMX), bundled model, beam 5 | "
            f"{WORKER_RATE:.0f} frames/s | `framecap bench --full` |",
            f"| a frame: 640x480, JPEG quality 90 | {FRAME_BYTES / 1000:.0f} kB | its frames |",
            f"| its sidecar | {SIDECAR_BYTES / 1000:.1f} kB | its sidecars |",
        ]
    )


def scaling() -> str:
    """The same day, by what the fleet is scaled."""
    rows = ["| workers by | half of the frames | 95% | 99% | worker-hours |", "| --- | --- | --- | --- | --- |"]
    for messages, rate in SCALING:
        fleet, _ = simulate(Settings(messages_per_worker=messages, planned_rate=rate), 1)
        half, most, nearly_all = (percentile(fleet.delays, part) for part in (0.5, 0.95, 0.99))
        by = f"length, {messages:,} messages a worker"
        if rate:
            by = f"**length, {messages:,}, and {rate:.0f} new messages a second** (the chart)"
        rows.append(f"| {by} | {half} s | {most} s | {nearly_all} s | {fleet.worker_seconds / 3600:,.0f} |")
    return "\n".join(rows)


def day() -> str:
    fleet, minutes = simulate(Settings(), 1)
    draw(minutes, IMAGE)
    return _code(f"{table(minutes)}\n\n{summary(fleet, minutes)}")


QUICK: dict[str, Callable[[], str]] = {
    "measured": measured,
    "costs": lambda: _code(report(Fleet())),
    "costs of 100 cameras": lambda: _code(report(Fleet(cameras=100))),
    "scans": lambda: _code(report_scan(Fleet(), SCAN_SECONDS)),
}
SIMULATED: dict[str, Callable[[], str]] = {"day": day, "scaling": scaling}


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def filled(page: str, parts: dict[str, Callable[[], str]]) -> str:
    """The page with these parts made anew, each between its two comments. Raises ValueError for a part that it lacks."""
    for name, make in parts.items():
        pattern = re.compile(rf"(?<=<!-- made: {name} -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"docs/scale.md has no part {name!r}")
        text = make()
        page = pattern.sub(lambda _, text=text: text, page)  # type: ignore[misc]
    return page


def parts_of(page: str) -> Iterator[str]:
    """The names of the parts that are made."""
    yield from re.findall(r"<!-- made: (.*?) -->", page)


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.scale_page", description=__doc__).parse_args()
    PAGE.write_text(filled(PAGE.read_text(), {**QUICK, **SIMULATED}))


if __name__ == "__main__":
    main()
