"""python -m benchmarks.fleet: a fleet's day, simulated; as a table, and as an image with --image FILE."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from benchmarks.fleet_model import Counts, Fleet, Settings, simulate


def percentile(delays: dict[int, int], part: float) -> int:
    """The delay that `part` of the frames do not exceed."""
    ordered = sorted(delays)
    sums = np.cumsum([delays[one] for one in ordered])
    return ordered[int(np.searchsorted(sums, part * sums[-1]))]


def table(minutes: list[Counts], every: int = 60) -> str:
    """A line for each hour: what came and went since the last line, and the worst within."""
    lines = ["time    captured/s  captioned/s  workers    queued  in spools  oldest, s"]
    before = Counts(0)
    for index in range(every - 1, len(minutes), every):
        one, within = minutes[index], minutes[index - every + 1 : index + 1]
        seconds = one.second - before.second
        lines.append(
            f"{one.second // 3600:02}:{one.second % 3600 // 60:02} {(one.arrived - before.arrived) / seconds:12,.0f}"
            f"{(one.done - before.done) / seconds:13,.0f}{max(each.workers for each in within):9}"
            f"{max(each.queued for each in within):10,}{max(each.spooled for each in within):11,}"
            f"{max(each.age for each in within):11,}"
        )
        before = one
    return "\n".join(lines)


def summary(fleet: Fleet, minutes: list[Counts]) -> str:
    last, settings = minutes[-1], fleet.settings
    half, most, nearly_all = (percentile(fleet.delays, part) for part in (0.5, 0.95, 0.99))
    return (
        f"{last.arrived:,} frames: {last.done:,} captioned, {last.poison:,} failed as poison, {last.dead:,} dead-lettered, "
        f"{last.arrived - last.done - last.poison - last.dead:,} still on their way.\n"
        f"Capture to sidecar: {half} s (half of them), {most} s (95%), {nearly_all} s (99%), {max(fleet.delays)} s (all)\n"
        f"{fleet.worker_seconds / 3600:,.0f} worker-hours; {last.done / settings.worker_rate / 3600:,.0f} would do if none "
        f"ever waited. In hand or invisible at most: {max(one.in_flight + one.invisible for one in minutes):,} messages."
    )


def draw(minutes: list[Counts], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    hours = [one.second / 3600 for one in minutes]
    figure, (ages, workers) = plt.subplots(2, 1, sharex=True, figsize=(8, 4.5), dpi=80, layout="constrained")
    ages.plot(hours, [max(one.age, 1) for one in minutes], color="tab:red", linewidth=1)
    ages.set(yscale="log", ylabel="oldest frame\nwithout a sidecar, s")
    workers.plot(hours, [one.workers for one in minutes], color="tab:blue", linewidth=1)
    workers.set(ylabel="workers", xlabel="hour of the day", xlim=(0, hours[-1]), ylim=0)
    for axis in (ages, workers):
        axis.grid(alpha=0.3)
    whole = io.BytesIO()
    figure.savefig(whole, format="png")
    plt.close(figure)
    Image.open(whole).convert("RGB").quantize(16).save(path, optimize=True)  # a tenth of the size


def main() -> None:
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of every random choice (1)")
    parser.add_argument("--hours", type=float, default=usual.hours, help="of the day that begins at midnight (24)")
    parser.add_argument("--messages-per-worker", type=int, default=usual.messages_per_worker, help="scaling's aim (2000)")
    parser.add_argument("--planned-rate", type=float, default=usual.planned_rate, help="... by new messages; 0: not (60)")
    parser.add_argument(
        "--worker-rate", type=float, default=usual.worker_rate, help=f"frames a second and worker ({usual.worker_rate:.0f})"
    )
    parser.add_argument("--image", type=Path, help="file for an image of the day")
    options = parser.parse_args()
    settings = Settings(
        hours=options.hours,
        messages_per_worker=options.messages_per_worker,
        planned_rate=options.planned_rate,
        worker_rate=options.worker_rate,
    )
    fleet, minutes = simulate(settings, options.seed)
    print(table(minutes), summary(fleet, minutes), sep="\n\n")
    if options.image:
        draw(minutes, options.image)


if __name__ == "__main__":
    main()
