"""Beam search: a decoder's steps in, each frame's best sentences out; one bookkeeping for every runtime (array API).

What is searched: at each step every live sentence of a frame is continued by every word that is allowed (never `<pad>`,
`<start>`, `<unk>`; no word group of `block_ngrams` words twice; no end before the first word). Of all continuations, those
among the best `beam` that end become finished, and the best `beam` that do not end live on. A frame is done when it has
`beam` finished sentences or its sentences have `max_words` words. Sentences are ranked by log-probability divided by
(words and end) ** length_penalty; only when none has finished, the best unfinished one is given, marked as truncated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, to_device

Array = Any  # of whichever array library the runtime uses
STEPS_BETWEEN_LOOKS = 4  # at whether every frame is done, on an accelerator: each look waits for it


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How to search. `sentences`: how many of a frame's finished sentences are given, the best first."""

    beam: int = 5
    max_words: int = 24
    length_penalty: float = 0.7
    block_ngrams: int = 3
    sentences: int = 1

    @property
    def candidates(self) -> int:
        """How many of each live sentence's best next words the search must see to be exact.

        2 * beam, and as many as can be blocked: the end at the first step, and each word that followed an earlier
        occurrence of the last n - 1 words (these followers differ, so there are at most max_words / (n - 1) + 1).
        """
        n = self.block_ngrams
        return 2 * self.beam + 1 + (self.max_words // max(1, n - 1) + 1 if n else 0)


class Decoder(Protocol):
    """A batch of frames ready to be described; each call goes one word further."""

    @property
    def frames(self) -> int: ...

    def step(self, parents: Array | None, words: Array | None, candidates: int) -> tuple[Array, Array, Array]:
        """Continue sentence `parents[f, b]` of frame f by `words[f, b]`, for each beam b; None: begin with `<start>`.

        Returns the best `candidates` next words of each sentence: log-probabilities (frames, beams, candidates), best
        first, their numbers (the same shape, integers) and the attention (frames, beams, places). Words that are never
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
    attention: npt.NDArray[np.float32] = field(compare=False, repr=False)  # (words, places)


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step chose: for each frame and live beam the parent beam, the word, its log-probability, the attention."""

    parents: Array
    words: Array
    log_probabilities: Array
    attention: Array


def search(decoder: Decoder, end: int, settings: BeamSettings) -> list[list[Sentence] | None]:
    """For each frame its best sentences, or None where the decoder gave NaN."""
    under_way = Search(decoder, end, settings)
    look_every = 1 if str(device(under_way.broken)) == "cpu" else STEPS_BETWEEN_LOOKS
    while under_way.length < settings.max_words:
        if under_way.length % look_every == 0 and bool(under_way.done):
            break
        under_way.advance()
    return read(under_way.found())


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, as arrays of its library: n = min(sentences, beam) sentences a frame, the best first.

    What lies beyond a sentence's `lengths` means nothing. A score of -inf: there is no such sentence.
    """

    words: Array  # (frames, n, longest)
    log_probabilities: Array  # (frames, n, longest)
    attention: Array  # (frames, n, longest, places)
    lengths: Array  # (frames, n), words without the end
    scores: Array  # (frames, n)
    ends: Array  # (frames, n), the end's log-probability; -inf: the sentence is truncated
    broken: Array  # (frames,): the decoder gave NaN


class Search:
    """A search under way, one word a step. It waits for nothing: a device may record its steps, and play them again."""

    def __init__(self, decoder: Decoder, end: int, settings: BeamSettings) -> None:
        self.decoder, self.end, self.settings = decoder, end, settings
        log_probabilities, words, attention = decoder.step(None, None, settings.candidates)
        self.xp = xp = array_namespace(log_probabilities)
        where, frames, kind = device(log_probabilities), decoder.frames, log_probabilities.dtype
        self.totals = xp.zeros((frames, 1), dtype=kind, device=where)
        self.history = xp.zeros((frames, 1, 0), dtype=words.dtype, device=where)
        self.finished = _Finished(xp, xp.full((frames, settings.beam), -xp.inf, dtype=kind, device=where), settings)
        self.broken = xp.zeros((frames,), dtype=xp.bool, device=where)
        self.steps: list[_Step] = []
        self._judge(log_probabilities, words, attention)

    @property
    def length(self) -> int:
        """How many words the live sentences have."""
        return len(self.steps)

    @property
    def done(self) -> Array:
        """Whether every frame has its sentences: (), boolean."""
        return self.xp.all(self.finished.enough())

    def advance(self) -> None:
        """Go one word further."""
        xp = self.xp
        live = _live(xp, self._best, self._ends, self.settings.beam)
        self.totals = live.totals
        kept = xp.take_along_axis(self.history, live.parents[:, :, None], axis=1)
        self.history = xp.concat([kept, live.words[:, :, None]], axis=2)
        self.steps.append(_Step(live.parents, live.words, live.log_probabilities, self._attention))
        self._judge(*self.decoder.step(live.parents, live.words, self.settings.candidates))

    def _judge(self, log_probabilities: Array, words: Array, attention: Array) -> None:
        """Rank the continuations of all live sentences, and take out those that end."""
        xp = self.xp
        self.broken = xp.logical_or(self.broken, xp.any(xp.isnan(log_probabilities), axis=(1, 2)))
        blocked = _repeats(xp, self.history, words, self.settings.block_ngrams)
        if not self.steps:
            blocked = xp.logical_or(blocked, words == self.end)
        totals = xp.where(blocked, -xp.inf, self.totals[:, :, None] + log_probabilities)
        self._best = _Best.of(xp, totals, words, log_probabilities, 2 * self.settings.beam)
        self._ends = self._best.words == self.end
        self._attention = attention
        self.finished.add(self._best, self._ends, self.length)

    def found(self) -> Found:
        """The sentences themselves, by following the parents back from their ends."""
        xp, n = self.xp, min(self.settings.sentences, self.settings.beam)
        done = self.finished
        scores, ends, beams, lengths = (values[:, :n] for values in (done.scores, done.ends, done.parents, done.steps))
        best = xp.argmax(self.totals, axis=1)[:, None]  # of those that did not finish
        score = xp.take_along_axis(self.totals, best, axis=1) / max(1, self.length) ** self.settings.length_penalty
        truncated = xp.logical_and(xp.isinf(scores), xp.arange(n, device=device(scores))[None, :] == 0)
        beams = xp.where(truncated, xp.astype(best, beams.dtype), beams)
        lengths = xp.where(truncated, self.length, lengths)
        scores = xp.where(truncated, score, scores)
        return Found(*self._followed(beams, lengths), lengths, scores, ends, self.broken)

    def _followed(self, beams: Array, lengths: Array) -> tuple[Array, Array, Array]:
        """Words, log-probabilities and attention of the sentences that `beams` (frames, n) held after `lengths` words."""
        xp = self.xp
        words, log_probabilities, attention = [], [], []
        for number in range(self.length - 1, -1, -1):
            step = self.steps[number]
            words.append(xp.take_along_axis(step.words, beams, axis=1))
            log_probabilities.append(xp.take_along_axis(step.log_probabilities, beams, axis=1))
            parents = xp.take_along_axis(step.parents, beams, axis=1)
            attention.append(xp.take_along_axis(step.attention, parents[:, :, None], axis=1))
            beams = xp.where(lengths > number, parents, beams)
        return xp.stack(words[::-1], axis=2), xp.stack(log_probabilities[::-1], axis=2), xp.stack(attention[::-1], axis=2)


@dataclass(frozen=True, slots=True)
class _Best:
    """The best continuations of each frame, (frames, n) each, best first."""

    totals: Array
    parents: Array
    words: Array
    log_probabilities: Array

    @classmethod
    def of(cls, xp: Any, totals: Array, words: Array, log_probabilities: Array, n: int) -> _Best:
        frames, beams, candidates = totals.shape
        flat = xp.reshape(totals, (frames, beams * candidates))
        order = xp.argsort(flat, axis=1, descending=True, stable=True)[:, :n]

        def take(values: Array) -> Array:
            return xp.take_along_axis(xp.reshape(values, (frames, beams * candidates)), order, axis=1)

        return cls(take(totals), order // candidates, take(words), take(log_probabilities))

    def take(self, xp: Any, order: Array) -> _Best:
        def pick(values: Array) -> Array:
            return xp.take_along_axis(values, order, axis=1)

        return _Best(pick(self.totals), pick(self.parents), pick(self.words), pick(self.log_probabilities))


def _live(xp: Any, best: _Best, ends: Array, beam: int) -> _Best:
    """The best `beam` continuations that do not end, in their order."""
    order = xp.argsort(xp.astype(ends, xp.int32), axis=1, stable=True)[:, :beam]
    live = best.take(xp, order)
    ended = xp.take_along_axis(ends, order, axis=1)  # only where the vocabulary is smaller than the beam
    return replace(live, totals=xp.where(ended, -xp.inf, live.totals))


def _repeats(xp: Any, history: Array, words: Array, n: int) -> Array:
    """(frames, beams, candidates): whether the candidate would complete a group of n words that the sentence has already."""
    length = history.shape[2]
    if not n or length < n:
        return xp.zeros(words.shape, dtype=xp.bool, device=device(words))
    groups = length - n + 1
    same = xp.ones((*history.shape[:2], groups), dtype=xp.bool, device=device(words))
    for place in range(n - 1):
        last = history[:, :, length - n + 1 + place]
        same = xp.logical_and(same, history[:, :, place : place + groups] == last[:, :, None])
    followers = history[:, :, n - 1 :]
    hit = xp.logical_and(words[:, :, :, None] == followers[:, :, None, :], same[:, :, None, :])
    return xp.any(hit, axis=3)


class _Finished:
    """The finished sentences of each frame, the best `beam` by score: where they ended, and the end's log-probability."""

    def __init__(self, xp: Any, nothing: Array, settings: BeamSettings) -> None:
        self.xp, self.settings = xp, settings
        self.scores = nothing
        self.ends = nothing
        self.parents = xp.zeros(nothing.shape, dtype=xp.int64, device=device(nothing))
        self.steps = xp.zeros(nothing.shape, dtype=xp.int64, device=device(nothing))

    def enough(self) -> Array:
        """Which frames are done."""
        return self.xp.all(self.scores > -self.xp.inf, axis=1)

    def add(self, best: _Best, ends: Array, step: int) -> None:
        """Take in the continuations among the best `beam` that end, except for frames that are done."""
        xp, beam = self.xp, self.settings.beam
        accepted = xp.logical_and(ends[:, :beam], xp.logical_not(self.enough())[:, None])
        scores = xp.where(accepted, best.totals[:, :beam] / (step + 1) ** self.settings.length_penalty, -xp.inf)
        all_scores = xp.concat([self.scores, scores], axis=1)
        order = xp.argsort(all_scores, axis=1, descending=True, stable=True)[:, :beam]

        def merge(old: Array, new: Array) -> Array:
            return xp.take_along_axis(xp.concat([old, xp.astype(new, old.dtype)], axis=1), order, axis=1)

        self.ends = merge(self.ends, best.log_probabilities[:, :beam])
        self.parents = merge(self.parents, best.parents[:, :beam])
        self.steps = merge(self.steps, xp.full(scores.shape, step, dtype=xp.int64, device=device(scores)))
        self.scores = xp.take_along_axis(all_scores, order, axis=1)


def read(found: Found) -> list[list[Sentence] | None]:
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
            attention=attention[frame, n, :length],
        )

    return [
        None
        if broken[frame]
        else [sentence(frame, n) for n, score in enumerate(scores[frame]) if n == 0 or score > -math.inf]
        for frame in range(len(broken))
    ]


def _numpy(values: Array) -> npt.NDArray[Any]:
    return np.asarray(to_device(values, "cpu"))
