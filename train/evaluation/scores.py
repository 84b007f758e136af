"""Captions and references in, the field's scores out, with the confidence intervals of a bootstrap over photos.

A caption is scored against every raw reference of its photo; both are lists of words as Karpathy's files have them (lower
case, no punctuation). Scores of a sample of photos come from sums over its photos, so that a thousand samples cost little;
METEOR and SPICE are added by `train.evaluation.java_scores`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from framecap.scoring.bleu import bleu

Words = Sequence[str]
Array = npt.NDArray[np.float64]
Interval = tuple[float, float]

DEFINITIONS = {
    "bleu_1..4": "COCO's corpus BLEU (pycocoevalcap): clipped n-gram precision over all photos, no smoothing, the closest "
    "reference's length for the brevity penalty; 0 to 1",
    "rouge_l": "longest common subsequence with the references, F of beta 1.2 (pycocoevalcap), mean over photos; 0 to 1",
    "cider_d": "CIDEr-D (pycocoevalcap): n-grams weighted by how rare they are among this split's references, mean over "
    "photos, 100 times the formula's value as it is published",
    "meteor": "METEOR 1.5 (its own jar, by pycocoevalcap): matches of words, stems, synonyms and paraphrases; 0 to 1",
    "spice": "SPICE (its own jar, by pycocoevalcap): F of the scene graphs' parts, mean over photos; 0 to 1",
    "nltk bleu_1..4": "nltk's corpus_bleu, no smoothing; differs by counting one n-gram in a caption shorter than n words",
}
SAMPLES = 1000  # of a bootstrap
_AT_ONCE = 100  # samples, so that their weights fit into memory for any split
_DECIMALS = {"cider_d": 2}  # decimal places that are shown; 4 for the others


@dataclass(frozen=True, slots=True)
class Scores:
    """BLEU, ROUGE-L, METEOR and SPICE from 0 to 1; CIDEr-D as published, a hundred times the formula's value."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    cider_d: float
    meteor: float | None = None
    spice: float | None = None

    def rounded(self) -> dict[str, float]:
        """For a card or a table: CIDEr-D to two locations, the others to four; what was not measured is skipped."""
        return {name: shown(name, value) for name, value in asdict(self).items() if value is not None}


def shown(name: str, value: float) -> float:
    """A score rounded to the decimal places that are shown of it."""
    return round(value, _DECIMALS.get(name, 4))


def as_digits(name: str, value: float) -> str:
    """A score as it is printed: always with the same places."""
    return f"{value:.{_DECIMALS.get(name, 4)}f}"


@dataclass(frozen=True)
class Statistics:
    """What the scores are made of, a row for each photo.

    `bleu` (photos, 10): words of the caption, of the closest reference, the caption's 1- to 4-grams, and how many of each
    are in the references; `rouge_l` and `cider_d` (photos,).
    """

    bleu: npt.NDArray[np.int64]
    rouge_l: Array
    cider_d: Array

    def scores(self, weights: Array) -> dict[str, Array]:
        """The scores of samples: `weights` (samples, photos) says how often a photo is in a sample."""
        photos = weights.sum(axis=1)
        named = {f"bleu_{n}": values for n, values in enumerate(bleu(weights @ self.bleu), start=1)}
        return {
            **named,
            "rouge_l": weights @ self.rouge_l / photos,
            "cider_d": weights @ self.cider_d / photos,
        }


def statistics(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Statistics:
    """Judge each caption by its photo's references."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from pycocoevalcap.rouge.rouge import Rouge

    rouge = Rouge()
    bleu_scorer, cider_scorer = BleuScorer(n=4), CiderScorer(n=4)
    bleu, rouge_l = [], []
    for output, meant in zip(as_text(captions), map(as_text, references), strict=True):
        bleu_scorer += (output, meant)
        cider_scorer += (output, meant)
        found = bleu_scorer.ctest[-1]
        _, closest = min((abs(length - found["testlen"]), length) for length in found["reflen"])
        bleu.append([found["testlen"], closest, *found["guess"], *found["correct"]])
        rouge_l.append(rouge.calc_score([output], meant))
    _, cider_d = cider_scorer.compute_score()
    return Statistics(np.array(bleu, np.int64), np.array(rouge_l), 100 * np.asarray(cider_d, np.float64))


def as_text(sentences: Sequence[Words]) -> list[str]:
    """Lists of words as the scorers want them."""
    return [" ".join(words) for words in sentences]


def score(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Scores:
    """The scores of one caption for each photo."""
    return scores_of(statistics(captions, references))


def scores_of(found: Statistics) -> Scores:
    """The scores of all photos together."""
    everything = found.scores(np.ones((1, len(found.bleu))))
    return Scores(**{name: float(values[0]) for name, values in everything.items()})


def mean_of(several: Sequence[Scores]) -> Scores:
    """The mean of several sets' scores; what was not measured of all stays unmeasured."""
    all_values = [asdict(scores) for scores in several]
    measured = [name for name in all_values[0] if all(values[name] is not None for values in all_values)]
    return Scores(**{name: float(np.mean([values[name] for values in all_values])) for name in measured})


def intervals(
    photos: int, scores: Callable[[Array], Mapping[str, Array]], samples: int = SAMPLES, seed: int = 1
) -> dict[str, Interval]:
    """The 95% intervals of scores: the middle of what they are on samples of the photos, drawn with replacement.

    `scores` takes weights (samples, photos), as `Statistics.scores` does. The references' n-gram rarities (CIDEr-D) stay
    those of the whole split.
    """
    generator = np.random.default_rng(seed)
    drawn: list[Mapping[str, Array]] = []
    for start in range(0, samples, _AT_ONCE):
        weights = generator.multinomial(photos, np.full(photos, 1 / photos), min(_AT_ONCE, samples - start))
        drawn.append(scores(weights.astype(np.float64)))
    ends = {name: np.percentile(np.concatenate([found[name] for found in drawn]), (2.5, 97.5)) for name in drawn[0]}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def nltk_bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """BLEU-1 to BLEU-4 by nltk's corpus_bleu, without smoothing."""
    from nltk.translate.bleu_score import corpus_bleu

    weights = [(1.0,), (1 / 2,) * 2, (1 / 3,) * 3, (1 / 4,) * 4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where no n-gram matches; the score then is 0, as it should be
        found = corpus_bleu(references, captions, weights)
    return [float(value) for value in (found if isinstance(found, list) else [found] * 4)]


def table(rows: Sequence[tuple[str, Scores]]) -> str:
    """The scores as a Markdown table."""
    all_rounded = [scores.rounded() for _, scores in rows]
    names = list(dict.fromkeys(name for rounded in all_rounded for name in rounded))
    lines = [f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    for (title, _), rounded in zip(rows, all_rounded, strict=True):
        cells = (as_digits(name, rounded[name]) if name in rounded else "" for name in names)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)
