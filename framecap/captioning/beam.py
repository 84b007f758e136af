"""Beam search: a decoder's steps in, each frame's best sentences out; one bookkeeping for every runtime (array API).

What is searched: at each step every live sentence of a frame is continued by every word that is allowed (never `<pad>`,
`<start>`, `<unk>`; no word group of `block_ngrams` words twice; no content word twice; no end before the first word). Of all
continuations, those
among the best `beam` that end become finished, and the best `beam` that do not end live on. A frame is done when it has
`beam` finished sentences or its sentences have `max_words` words. Sentences are ranked by log-probability divided by
(words and end) ** length_penalty; only when none has finished, the best unfinished one is given, marked as truncated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, to_device

Array = Any  # of whichever array library the runtime uses
_NO_WORD = -1
STEPS_BETWEEN_CHECKS = 4  # at whether every frame is done, on an accelerator: each look waits for it


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How to search.

    `sentences`: how many of a frame's finished sentences are given, the best first. `repeatable`: the numbers, in order, of
    the words that a sentence may hold twice (see `repetition.repeatable_numbers`); None: it may hold every word twice.
    """

    beam: int = 5
    max_words: int = 24
    length_penalty: float = 0.7
    block_ngrams: int = 3
    sentences: int = 1
    repeatable: tuple[int, ...] | None = None

    @property
    def candidates(self) -> int:
        """How many of each live sentence's best next words the search must see to be exact.

        2 * beam, and as many as can be blocked: the end at the first step, and each word that followed an earlier
        occurrence of the last n - 1 words (these followers differ, so there are at most max_words / (n - 1) + 1). Where
        content words are said once, every blocked word is one of the sentence's own, of which there are max_words at most.
        """
        n = self.block_ngrams
        if self.repeatable is not None:
            return 2 * self.beam + 1 + self.max_words
        return 2 * self.beam + 1 + (self.max_words // max(1, n - 1) + 1 if n else 0)


class Decoder(Protocol):
    """A batch of frames ready to be described; each call goes one word further."""

    @property
    def frames(self) -> int: ...

    def step(self, parents: Array | None, words: Array | None, candidates: int) -> tuple[Array, Array, Array]:
        """Continue sentence `parents[f, b]` of frame f by `words[f, b]`, for each beam b; None: begin with `<start>`.

        Returns the best `candidates` next words of each sentence: log-probabilities (frames, beams, candidates), best
        first, their numbers (the same shape, integers) and the attention (frames, beams, locations). Words that are never
        said have -inf. Beginning gives one beam.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sentence:
    """Word numbers without the end, their log-probabilities, the score it was ranked by and its confidence."""

    words: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    score: float
    confidence: float
    truncated: bool
    attention: npt.NDArray[np.float32] | None = field(compare=False, repr=False)  # (words, locations), of the best one only


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step chose: for each frame and live beam the parent beam, the word, its log-probability, the attention."""

    parents: Array
    words: Array
    log_probabilities: Array
    attention: Array


def search(decoder: Decoder, end: int, settings: BeamSettings) -> list[list[Sentence] | None]:
    """For each frame its best sentences, or None where the decoder gave NaN."""
    under_way = BeamSearch(decoder, end, settings)
    check_every = 1 if str(device(under_way.totals)) == "cpu" else STEPS_BETWEEN_CHECKS
    while under_way.length < settings.max_words:
        if under_way.length % check_every == 0 and bool(under_way.done):
            break
        under_way.advance()
    return read(under_way.found())


@dataclass(frozen=True, slots=True)
class BeamResult:
    """What a search found, as arrays of its library: n = min(sentences, beam) sentences a frame, the best first.

    What lies beyond a sentence's `lengths` means nothing. A score of -inf: there is no such sentence.
    """

    words: Array  # (frames, n, longest)
    log_probabilities: Array  # (frames, n, longest)
    attention: Array  # (frames, longest, locations), of the best
    lengths: Array  # (frames, n), words without the end
    scores: Array  # (frames, n)
    ends: Array  # (frames, n), the end's log-probability; -inf: the sentence is truncated
    broken: Array  # (frames,): the decoder gave NaN


class BeamSearch:
    """A search under way, one word a step. It waits for nothing: a device may record its steps, and play them again."""

    def __init__(self, decoder: Decoder, end: int, settings: BeamSettings) -> None:
        self.decoder, self.end, self.settings = decoder, end, settings
        log_probabilities, words, attention = decoder.step(None, None, settings.candidates)
        self.xp = xp = array_namespace(log_probabilities)
        where, frames, kind = device(log_probabilities), decoder.frames, log_probabilities.dtype
        self._rows = _Rows(xp, frames, where)
        self._repeatable = None if settings.repeatable is None else _table(xp, where, settings.repeatable)
        self.totals = xp.zeros((frames, 1), dtype=kind, device=where)
        self.history = xp.zeros((frames, 1, 0), dtype=words.dtype, device=where)
        self.finished = _Finished(xp, xp.full((frames, settings.beam), -xp.inf, dtype=kind, device=where), settings)
        self.steps: list[_Step] = []
        self._heard: list[Array] = []
        self._judge(log_probabilities, words, attention)

    @property
    def length(self) -> int:
        """How many words the live sentences have."""
        return len(self.steps)

    @property
    def done(self) -> Array:
        """Whether every frame has its sentences: (), boolean."""
        return self.xp.all(self.finished.enough)

    def advance(self) -> None:
        """Go one word further."""
        best, beam = self._best, self.settings.beam
        totals = self.xp.where(self._ends, -self.xp.inf, best.totals)
        order = self.xp.argsort(totals, axis=1, descending=True, stable=True)[:, :beam]
        take = self._rows.taker(order, totals.shape[1])
        parents, words = take(best.parents), take(best.words)
        self.totals = take(totals)
        output = [self._rows.taker(parents, self.history.shape[1])(self.history)] if self.steps else []
        self.history = self.xp.concat([*output, words[:, :, None]], axis=2)
        self.steps.append(_Step(parents, words, take(best.log_probabilities), self._attention))
        self._judge(*self.decoder.step(parents, words, self.settings.candidates))

    def _judge(self, log_probabilities: Array, words: Array, attention: Array) -> None:
        """Rank the continuations of all live sentences, and take out those that end."""
        xp, n = self.xp, self.settings.block_ngrams
        frames, beams, candidates = log_probabilities.shape
        totals = self.totals[:, :, None] + log_probabilities
        if not self.steps:
            totals = xp.where(words == self.end, -xp.inf, totals)
        if n and self.length >= n:
            totals = xp.where(_repeats(xp, self.history, words, n), -xp.inf, totals)
        if self._repeatable is not None and self.steps:
            totals = xp.where(_reported_before(xp, self._content(), words), -xp.inf, totals)
        flat = (frames, beams * candidates)
        totals = xp.reshape(totals, flat)
        order = xp.argsort(totals, axis=1, descending=True, stable=True)[:, : 2 * self.settings.beam]
        take = self._rows.taker(order, beams * candidates)
        self._best = _Best(
            take(totals), order // candidates, take(xp.reshape(words, flat)), take(xp.reshape(log_probabilities, flat))
        )
        self._ends = self._best.words == self.end
        self._attention = attention
        self._heard.append(log_probabilities)
        self.finished.add(self._best, self._ends, self.length, self._rows)

    def _content(self) -> Array:
        """The live sentences' words, those that may be repeated blanked out."""
        xp, table = self.xp, self._repeatable
        assert table is not None
        locations = xp.reshape(xp.clip(self.history, None, table.shape[0] - 1), (-1,))
        return xp.where(xp.reshape(xp.take(table, locations), self.history.shape), _NO_WORD, self.history)

    def found(self) -> BeamResult:
        """The sentences themselves, by following the parents back from their ends; the search is as it was before."""
        xp, beam, done = self.xp, self.settings.beam, self.finished
        n = min(self.settings.sentences, beam)
        scores, ends, locations = done.scores[:, :n], done.ends[:, :n], done.locations[:, :n]
        rows = _Rows(xp, len(scores), device(scores))  # of its own: a recorded step must not need what is made here
        best = xp.argmax(self.totals, axis=1)[:, None]  # of those that did not finish
        score = rows.taker(best, self.totals.shape[1])(self.totals) / max(1, self.length) ** self.settings.length_penalty
        truncated = xp.logical_and(xp.isinf(scores), xp.arange(n, device=device(scores))[None, :] == 0)
        beams = xp.where(truncated, xp.astype(best, locations.dtype), locations % beam)
        lengths = xp.where(truncated, self.length, locations // beam)
        heard = xp.concat([xp.reshape(values, (len(values), -1)) for values in self._heard], axis=1)
        broken = xp.any(xp.isnan(heard), axis=1)
        return BeamResult(*self._followed(rows, beams, lengths), lengths, xp.where(truncated, score, scores), ends, broken)

    def _followed(self, rows: _Rows, beams: Array, lengths: Array) -> tuple[Array, Array, Array]:
        """Words, log-probabilities and attention of the sentences that `beams` (frames, n) held after `lengths` words."""
        xp = self.xp
        words, log_probabilities, attention = [], [], []
        for number in range(self.length - 1, -1, -1):
            step = self.steps[number]
            take = rows.taker(beams, step.words.shape[1])
            parents = take(step.parents)
            words.append(take(step.words))
            log_probabilities.append(take(step.log_probabilities))
            attention.append(rows.taker(parents[:, :1], step.attention.shape[1])(step.attention)[:, 0])
            beams = xp.where(lengths > number, parents, beams)
        return xp.stack(words[::-1], axis=2), xp.stack(log_probabilities[::-1], axis=2), xp.stack(attention[::-1], axis=1)


class _Rows:
    """Takes entries of arrays (frames, width, ...) by their numbers within each frame, as rows of one long array.

    On a GPU that is one small kernel for each array, where take_along_axis, which looks at the numbers first, is five.
    """

    def __init__(self, xp: Any, frames: int, where: Any) -> None:
        self.xp, self.frames = xp, frames
        self._numbers = xp.arange(frames, dtype=xp.int64, device=where)[:, None]
        self._firsts: dict[int, Array] = {}

    def taker(self, order: Array, width: int) -> Callable[[Array], Array]:
        """What takes entries `order` (frames, n) of each frame's `width`: (frames, width, ...) → (frames, n, ...)."""
        xp, frames = self.xp, self.frames
        if width not in self._firsts:
            self._firsts[width] = self._numbers * width
        rows = xp.reshape(order + self._firsts[width], (-1,))

        def take(values: Array) -> Array:
            rest = values.shape[2:]
            return xp.reshape(xp.take(xp.reshape(values, (frames * width, *rest)), rows, axis=0), (*order.shape, *rest))

        return take


@dataclass(frozen=True, slots=True)
class _Best:
    """The best continuations of each frame, (frames, n) each, best first."""

    totals: Array
    parents: Array
    words: Array
    log_probabilities: Array


def _repeats(xp: Any, history: Array, words: Array, n: int) -> Array:
    """(frames, beams, candidates): whether the candidate would complete a group of n words that the sentence has already.

    The sentences have n words at least.
    """
    length = history.shape[2]
    groups = length - n + 1
    followers = history[:, :, n - 1 :]
    for index in range(n - 1):  # a follower counts where the n - 1 words before it are the last n - 1
        last = history[:, :, length - n + 1 + index, None]
        followers = xp.where(history[:, :, index : index + groups] == last, followers, _NO_WORD)
    return xp.any(words[:, :, :, None] == followers[:, :, None, :], axis=3)


@lru_cache(maxsize=64)
def _table(xp: Any, where: Any, repeatable: tuple[int, ...]) -> Array:
    """Which word numbers may be repeated; the last entry stands for all larger ones, which may not.

    Made once for a device: while its steps are recorded, nothing can be copied to it.
    """
    last = max(repeatable, default=0) + 1
    allowed = set(repeatable)
    return xp.asarray([number in allowed for number in range(last + 1)], device=where)


def _reported_before(xp: Any, content: Array, words: Array) -> Array:
    """(frames, beams, candidates): whether the sentence's content words, (frames, beams, length), hold the candidate."""
    return xp.any(words[:, :, :, None] == content[:, :, None, :], axis=3)


class _Finished:
    """The finished sentences of each frame, the best `beam` by score: the end's log-probability, and where they ended.

    `locations` are step * beam + parent.
    """

    def __init__(self, xp: Any, nothing: Array, settings: BeamSettings) -> None:
        self.xp, self.settings = xp, settings
        self.scores = nothing
        self.ends = nothing
        self.locations = xp.zeros(nothing.shape, dtype=xp.int64, device=device(nothing))

    @property
    def enough(self) -> Array:
        """Which frames are done."""
        return self.scores[:, -1] > -self.xp.inf

    def add(self, best: _Best, ends: Array, step: int, rows: _Rows) -> None:
        """Take in the continuations among the best `beam` that end, except for frames that are done."""
        xp, beam = self.xp, self.settings.beam
        accepted = xp.logical_and(ends[:, :beam], xp.isinf(self.scores[:, -1:]))
        scores = xp.where(accepted, best.totals[:, :beam] / (step + 1) ** self.settings.length_penalty, -xp.inf)
        scores = xp.concat([self.scores, scores], axis=1)
        take = rows.taker(xp.argsort(scores, axis=1, descending=True, stable=True)[:, :beam], scores.shape[1])
        self.scores = take(scores)
        self.ends = take(xp.concat([self.ends, best.log_probabilities[:, :beam]], axis=1))
        locations = xp.astype(best.parents[:, :beam], xp.int64) + step * beam
        self.locations = take(xp.concat([self.locations, locations], axis=1))


def read(found: BeamResult) -> list[list[Sentence] | None]:
    """The sentences in Python's own types; None where the decoder gave NaN."""
    words, log_probabilities, lengths, scores, ends, broken = (
        _numpy(values).tolist()
        for values in (found.words, found.log_probabilities, found.lengths, found.scores, found.ends, found.broken)
    )
    attention = np.asarray(_numpy(found.attention), np.float32)

    def sentence(frame: int, n: int) -> Sentence:
        length, end = lengths[frame][n], ends[frame][n]
        values = log_probabilities[frame][n][:length]
        tokens = values if end == -math.inf else [*values, end]
        return Sentence(
            words=tuple(words[frame][n][:length]),
            log_probabilities=tuple(values),
            score=scores[frame][n],
            confidence=min(1.0, math.exp(sum(tokens) / len(tokens))),
            truncated=end == -math.inf,
            attention=attention[frame, :length] if n == 0 else None,
        )

    return [
        None
        if broken[frame]
        else [sentence(frame, n) for n, score in enumerate(scores[frame]) if n == 0 or score > -math.inf]
        for frame in range(len(broken))
    ]


def _numpy(values: Array) -> npt.NDArray[Any]:
    return np.asarray(to_device(values, "cpu"))
