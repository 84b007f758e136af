"""References of a set of photos in; the CIDEr-D of single sentences, fast enough to be a training's reward, out.

The same formula as pycocoevalcap's (a test compares them), which scores only whole corpora at once. The document frequencies
are those of the references given here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Words = Sequence[str]
Gram = tuple[str, ...]

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the penalty for another length
SCALE = 10.0


@dataclass(frozen=True, slots=True)
class _Vector:
    """A sentence as its n-grams' weights, their norm for each n, and its length as the formula counts it (in pairs)."""

    weights: dict[Gram, float]
    norms: tuple[float, ...]
    length: int


class CiderD:
    """`references`: of every photo its captions as words."""

    def __init__(self, references: Sequence[Sequence[Words]]) -> None:
        self._references = references
        self._photos: Counter[Gram] = Counter()  # in how many photos' captions an n-gram stands
        for captions in references:
            self._photos.update({gram for words in captions for gram in _grams(words)})
        self._log_photos = math.log(len(references))

    def score(self, photo: int, sentences: Sequence[Words]) -> list[float]:
        """CIDEr-D of each sentence about the photo, 0 to 10."""
        meant = [self._vector(words) for words in self._references[photo]]
        output = [self._vector(words) for words in sentences]
        return [SCALE * sum(_similarity(vector, other) for other in meant) / len(meant) for vector in output]

    def _vector(self, words: Words) -> _Vector:
        weights: dict[Gram, float] = {}
        squares = [0.0] * LONGEST
        for gram, count in Counter(_grams(words)).items():
            weight = count * (self._log_photos - math.log(max(1, self._photos[gram])))
            weights[gram] = weight
            squares[len(gram) - 1] += weight * weight
        return _Vector(weights, tuple(map(math.sqrt, squares)), max(0, len(words) - 1))


def _grams(words: Words) -> list[Gram]:
    return [tuple(words[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1)]


def _similarity(output: _Vector, meant: _Vector) -> float:
    """The mean over n of the clipped cosine, less for another length."""
    products = [0.0] * LONGEST
    for gram, weight in output.weights.items():
        other = meant.weights.get(gram)
        if other is not None:
            products[len(gram) - 1] += min(weight, other) * other
    cosines = (
        product / (norm * other) if norm and other else 0.0
        for product, norm, other in zip(products, output.norms, meant.norms, strict=True)
    )
    return sum(cosines) / LONGEST * math.exp(-((output.length - meant.length) ** 2) / (2 * SIGMA**2))
