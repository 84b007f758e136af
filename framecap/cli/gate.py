"""`framecap gate`: a new bundle and a golden set in; what it would change, and whether it may, printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from framecap.app.console import printable, sureness, table
from framecap.captioning.caption import Caption
from framecap.captioning.load import load_captioner
from framecap.config import Config
from framecap.telemetry import mask, set_up_logging
from framecap.upkeep.gate import GoldenFrame, ModelResult, Thresholds, Verdict, compare, golden_set, judge, words_of


def gate(config: Config, bundle: str, folder: Path, thresholds: Thresholds, show: int, as_json: bool) -> int:
    """Compare `bundle` with the model that the configuration names; 0 when it passes, else 1."""
    set_up_logging(config.log.level, config.log.format)
    golden = golden_set(folder)
    old = load_captioner(config.captioning)
    new = load_captioner(config.captioning.model_copy(update={"kind": "bundle", "bundle": bundle}))
    with tqdm(total=len(golden), unit=" images", file=sys.stderr, disable=None, leave=False) as bar:
        sides = compare(golden, old, new, config.worker, bar.update)
    verdict = judge(golden, *sides, thresholds)
    print(_json(golden, *sides, verdict) if as_json else _for_people(golden, *sides, verdict, show))
    return 1 if verdict.problems else 0


def _for_people(golden: Sequence[GoldenFrame], old: ModelResult, new: ModelResult, verdict: Verdict, show: int) -> str:
    known = "with references" if golden[0].references else "without references: nobody knows what would be right"
    rows = [["", f"old: {old.name} {old.hash[:8]}", f"new: {new.name} {new.hash[:8]}"], *_rows(old, new, verdict)]
    changed = _changed(golden, old, new)
    lines = [f"golden set: {len(golden)} images, {known}", "", *table(rows)]
    if verdict.gain is not None and verdict.interval is not None:
        low, high = verdict.interval
        lines.append(f"CIDEr-D changes by {verdict.gain:+.2f} (95% of such sets: {low:+.2f} to {high:+.2f})")
    lines += ["", f"{len(changed)} of {len(golden)} captions change{':' if changed and show else ''}"]
    for one, before, after in changed[:show]:
        lines += [f"{one.name}", f"  old: {_reported(before)}", f"  new: {_reported(after)}"]
    if show and len(changed) > show:
        lines.append(f"({len(changed) - show} more: --show N, or --json)")
    verdict_lines = [f"not passed: {problem}" for problem in verdict.problems] or ["passed"]
    return "\n".join(printable(line) for line in [*lines, "", *verdict_lines])


def _rows(old: ModelResult, new: ModelResult, verdict: Verdict) -> list[list[str]]:
    rows = []
    if verdict.old and verdict.new:
        means = (sum(scored.cider_d) / len(scored.cider_d) for scored in (verdict.old, verdict.new))
        rows += [["CIDEr-D", *(f"{mean:.2f}" for mean in means)]]
        rows += [["BLEU-4", f"{verdict.old.bleu_4:.4f}", f"{verdict.new.bleu_4:.4f}"]]
    for name, values in {
        "mean confidence": (old.confidence, new.confidence),
        "uncertain": (old.uncertain, new.uncertain),
    }.items():
        rows.append([name, *("unknown" if value is None else f"{value:.3f}" for value in values)])
    rows.append(["failed", str(old.failed), str(new.failed)])
    rows.append(["images/s", f"{old.images_per_second:.1f}", f"{new.images_per_second:.1f}"])
    return rows


def _changed(
    golden: Sequence[GoldenFrame], old: ModelResult, new: ModelResult
) -> list[tuple[GoldenFrame, Caption | Exception, Caption | Exception]]:
    together = zip(golden, old.answers, new.answers, strict=True)
    return [(one, before, after) for one, before, after in together if _text(before) != _text(after)]


def _text(answer: Caption | Exception) -> tuple[str, ...] | None:
    return words_of(answer.text) if isinstance(answer, Caption) else None


def _reported(answer: Caption | Exception) -> str:
    if isinstance(answer, Exception):
        return mask(f"failed: {answer}")
    return f"{answer.text}{sureness(answer.confidence, answer.uncertain)}"


def _json(golden: Sequence[GoldenFrame], old: ModelResult, new: ModelResult, verdict: Verdict) -> str:
    images = [
        {"image": one.name, "old": _fields(before), "new": _fields(after)}
        for one, before, after in zip(golden, old.answers, new.answers, strict=True)
    ]
    whole = {
        "passed": not verdict.problems,
        "problems": verdict.problems,
        "cider_d_gain": verdict.gain,
        "cider_d_gain_interval": verdict.interval,
        "old": _side(old, verdict.old.cider_d if verdict.old else None, verdict.old.bleu_4 if verdict.old else None),
        "new": _side(new, verdict.new.cider_d if verdict.new else None, verdict.new.bleu_4 if verdict.new else None),
        "changed": len(_changed(golden, old, new)),
        "images": images,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def _side(side: ModelResult, cider_d: Sequence[float] | None, bleu_4: float | None) -> dict[str, Any]:
    return {
        "name": side.name,
        "bundle": side.hash,
        "cider_d": sum(cider_d) / len(cider_d) if cider_d else None,
        "bleu_4": bleu_4,
        "confidence": side.confidence,
        "uncertain": side.uncertain,
        "failed": side.failed,
        "images_per_second": side.images_per_second,
    }


def _fields(answer: Caption | Exception) -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"error": mask(str(answer))}
    return {"caption": answer.text, "confidence": answer.confidence, "uncertain": answer.uncertain}
