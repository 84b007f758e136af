"""A bundle and a split in, the report of its evaluation out: every score with its interval, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from framecap.captioning.bundle import Bundle
from framecap.captioning.repetition import repeated_words
from framecap.config import CaptioningConfig
from framecap.errors import MissingError, ModelError
from train.data.dataset import DataFolder
from train.evaluation.evaluate import Evaluation, caption_split, scores_by_set
from train.evaluation.java_scores import meteor, spice
from train.evaluation.scores import (
    DEFINITIONS,
    SAMPLES,
    Interval,
    Scores,
    as_digits,
    intervals,
    nltk_bleu,
    scores_of,
    shown,
    statistics,
    table,
)
from train.evaluation.seed_bleu import seed_bleu_4

NOT_COMPARABLE = (
    "teacher-forced words against references with <unk>, as the tutorial's validate(): not comparable with any other score"
)


@dataclass(frozen=True)
class Report:
    """Every score of an evaluation, with 95% intervals by name; `notes` say what could not be measured, and why.

    `sets`: of each data set, where there are several, how many photos it has and their scores.
    """

    bundle: Bundle
    split: str
    evaluation: Evaluation
    intervals: dict[str, Interval]
    nltk: list[float]
    seed_bleu_4: float
    notes: list[str]
    settings: CaptioningConfig
    sets: dict[str, tuple[int, Scores]]

    @property
    def repeating(self) -> list[str]:
        """The captions that say a content word twice."""
        return [caption.text for caption in self.evaluation.captions if repeated_words(caption.words)]

    @property
    def share_repeating(self) -> float:
        """The share of such captions, 0 to 1."""
        return len(self.repeating) / max(1, len(self.evaluation.captions))


def report(bundle: Bundle, folder: DataFolder, name: str, config: CaptioningConfig) -> Report:
    """Every score of the folder's split `name` (TRAIN, VAL or TEST)."""
    split = folder.split(name)
    captions, photos_per_second, runtime = caption_split(bundle, split, config)
    words = [caption.words for caption in captions]
    found = statistics(words, split.references)
    scores, bounds = scores_of(found), intervals(len(split), found.scores)
    notes: list[str] = []
    for name_of_score, measure in (("meteor", meteor), ("spice", spice)):
        try:
            answer = measure(words, split.references)
        except (MissingError, ModelError) as error:
            notes.append(str(error))
        else:
            scores, bounds[name_of_score] = replace(scores, **{name_of_score: answer.value}), answer.interval
    return Report(
        bundle=bundle,
        split=name.lower(),
        evaluation=Evaluation(scores, captions, photos_per_second, runtime),
        intervals=bounds,
        nltk=nltk_bleu(words, split.references),
        seed_bleu_4=seed_bleu_4(bundle, split, folder.vocabulary, config.threads),
        notes=notes,
        settings=config,
        sets={data_set: (len(split.rows_of(data_set)), own) for data_set, own in scores_by_set(words, split).items()},
    )


def as_json(found: Report) -> dict[str, Any]:
    """The report as a JSON object."""
    captioning = found.settings.model_dump(include={"beam", "max_words", "length_penalty", "block_ngrams", "block_repeats"})
    return {
        "bundle": {"name": found.bundle.card.name, "hash": found.bundle.hash},
        "runtime": found.evaluation.runtime,
        "split": found.split,
        "photos": len(found.evaluation.captions),
        "captioning": captioning,
        "scores": found.evaluation.scores.rounded(),
        "sets": {name: {"photos": photos, "scores": own.rounded()} for name, (photos, own) in found.sets.items()},
        "intervals_95": {name: [shown(name, end) for end in ends] for name, ends in found.intervals.items()},
        "nltk": {f"bleu_{n}": round(value, 4) for n, value in enumerate(found.nltk, start=1)},
        "seed_compatible": {"bleu_4": round(found.seed_bleu_4, 4), "note": NOT_COMPARABLE},
        "repeating": {"photos": len(found.repeating), "share": round(found.share_repeating, 4)},
        "photos_per_second": round(found.evaluation.photos_per_second, 1),
        "not_measured": found.notes,
        "definitions": DEFINITIONS,
    }


def as_text(found: Report) -> str:
    """The report for people: a Markdown table, and what stands beside it."""
    bundle, photos, beam = found.bundle, len(found.evaluation.captions), found.settings.beam
    lines = [
        f"bundle {bundle.card.name} {bundle.hash[:12]} on {found.split}: {photos} photos, one caption each, beam {beam}",
        "",
        f"| score | value | 95% interval ({SAMPLES} bootstrap samples of the photos) |",
        "| --- | ---: | ---: |",
    ]
    for score_name, value in found.evaluation.scores.rounded().items():
        printed, low, high = (as_digits(score_name, number) for number in (value, *found.intervals[score_name]))
        lines.append(f"| {score_name} | {printed} | {low} to {high} |")
    if found.sets:
        lines += ["", table([(f"{name} ({count} photos)", own) for name, (count, own) in found.sets.items()])]
    nltk = ", ".join(f"{value:.4f}" for value in found.nltk)
    lines += ["", f"nltk bleu_1..4: {nltk}", f"seed-compatible bleu_4: {found.seed_bleu_4:.4f} ({NOT_COMPARABLE})"]
    lines.append(f"captions that say a content word twice: {len(found.repeating)} of {photos} ({found.share_repeating:.1%})")
    lines += [f"not measured: {note}" for note in found.notes]
    lines.append(f"{found.evaluation.photos_per_second:.1f} photos/s captioned by the runtime {found.evaluation.runtime}")
    return "\n".join(lines)
