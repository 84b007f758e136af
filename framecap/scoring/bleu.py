"""Captions and references as words in; BLEU, as pycocoevalcap counts it, out, from numbers that add up over photos."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = Sequence[str]
Array = npt.NDArray[np.float64]

LONGEST = 4  # words of an n-gram
NUMBERS = 2 + 2 * LONGEST


def counts(output: Words, references: Sequence[Words]) -> list[int]:
    """A photo's numbers (10): words of the caption, of the closest reference, its 1- to 4-grams, how many are right."""
    closest = min((abs(len(words) - len(output)), len(words)) for words in references)[1]
    meant: Counter[tuple[str, ...]] = Counter()
    for words in references:
        meant |= _grams(words)
    right = _grams(output) & meant
    guessed = [max(0, len(output) - n) for n in range(LONGEST)]
    return [
        len(output),
        closest,
        *guessed,
        *(sum(right[gram] for gram in right if len(gram) == n + 1) for n in range(LONGEST)),
    ]


def bleu(sums: Array) -> list[Array]:
    """BLEU-1 to BLEU-4, 0 to 1, from sums (samples, 10) of photos' numbers; pycocoevalcap's constants included."""
    small, tiny = 1e-9, 1e-15
    output, meant, guessed, correct = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:10]
    ratio = (output + tiny) / (meant + small)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    precisions = np.cumprod((correct + tiny) / (guessed + small), axis=1)
    return [np.asarray(penalty * precisions[:, n] ** (1 / (n + 1)), np.float64) for n in range(LONGEST)]


def sentence_bleu(output: Words, references: Sequence[Words]) -> float:
    """BLEU-4 of one sentence, 0 to 1, one added to the counts of 2-grams and longer.

    Source: Lin and Och 2004, "ORANGE: a Method for Evaluating Automatic Evaluation Metrics for Machine Translation".
    """
    if not output:
        return 0.0
    length, closest, *numbers = counts(output, references)
    guessed, correct = numbers[:LONGEST], numbers[LONGEST:]
    if not correct[0]:
        return 0.0
    precisions = [(correct[n] + (n > 0)) / (guessed[n] + (n > 0)) for n in range(LONGEST)]
    return math.prod(precisions) ** (1 / LONGEST) * min(1.0, math.exp(1 - closest / length))


def _grams(words: Words) -> Counter[tuple[str, ...]]:
    spans = ((start, start + n) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1))
    return Counter(tuple(words[start:end]) for start, end in spans)
