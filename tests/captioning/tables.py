"""A decoder for tests whose next-word probabilities stand in a table: random, small, and the same in every array library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PAD, END, START, UNKNOWN = 0, 1, 2, 3
SUPPRESSED = (PAD, START, UNKNOWN)
LOCATIONS = 3

Logits = Callable[[int, tuple[int, ...]], npt.NDArray[np.float64]]  # frame, words so far → (words,) logits


@dataclass(frozen=True)
class RandomModel:
    """Log-probabilities that depend on the frame and the last two words, from a seed."""

    words: int
    seed: int
    spread: float = 2.0

    def log_probabilities(self, frame: int, sentence: tuple[int, ...]) -> npt.NDArray[np.float64]:
        context = (*(START, START, *sentence)[-2:], len(sentence))
        logits = self.spread * np.random.default_rng((self.seed, frame, *context)).normal(size=self.words)
        values: npt.NDArray[np.float64] = logits - np.log(np.exp(logits).sum())
        values[list(SUPPRESSED)] = -np.inf
        return values


class TableDecoder:
    """See `beam.Decoder`; `convert` makes the arrays of another library."""

    def __init__(
        self, model: RandomModel, frames: int, convert: Callable[[npt.NDArray[Any]], Any] = lambda array: array
    ) -> None:
        self.model, self.frames, self.convert = model, frames, convert
        self.sentences: list[list[tuple[int, ...]]] = [[()] for _ in range(frames)]

    def step(self, parents: Any, words: Any, candidates: int) -> tuple[Any, Any, Any]:
        if parents is not None:
            self.sentences = [
                [(*before[int(parent)], int(word)) for parent, word in zip(chosen, output, strict=True)]
                for before, chosen, output in zip(self.sentences, parents, words, strict=True)
            ]
        rows = np.array(
            [[self.model.log_probabilities(f, s) for s in sentences] for f, sentences in enumerate(self.sentences)]
        )
        numbers = np.argsort(-rows, axis=2, kind="stable")[:, :, :candidates]
        best = np.take_along_axis(rows, numbers, axis=2)
        attention = np.full((*rows.shape[:2], LOCATIONS), 1 / LOCATIONS, np.float32)
        return self.convert(best), self.convert(numbers), self.convert(attention)
