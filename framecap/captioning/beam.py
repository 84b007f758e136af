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
    beam = settings.beam
    log_probabilities, words, attention = decoder.step(None, None, settings.candidates)
    xp = array_namespace(log_probabilities)
    where = device(log_probabilities)
    look_every = 1 if str(where) == "cpu" else STEPS_BETWEEN_LOOKS
    frames = decoder.frames
    nothing = xp.full((frames, beam), -xp.inf, dtype=log_probabilities.dtype, device=where)
    totals = xp.zeros((frames, 1), dtype=log_probabilities.dtype, device=where)
    history = xp.zeros((frames, 1, 0), dtype=words.dtype, device=where)
    finished = _Finished(xp, nothing, settings)
    broken = xp.zeros((frames,), dtype=xp.bool, device=where)
    steps: list[_Step] = []
    for number in range(settings.max_words + 1):
        broken = xp.logical_or(broken, xp.any(xp.isnan(log_probabilities), axis=(1, 2)))
        blocked = _repeats(xp, history, words, settings.block_ngrams)
        if number == 0:
            blocked = xp.logical_or(blocked, words == end)
        all_totals = xp.where(blocked, -xp.inf, totals[:, :, None] + log_probabilities)
        best = _Best.of(xp, all_totals, words, log_probabilities, 2 * beam)
        ends = best.words == end
        finished.add(best, ends, number)
        if number == settings.max_words or (number % look_every == 0 and bool(xp.all(finished.enough()))):
            break
        live = _live(xp, best, ends, beam)
        totals = live.totals
        history = xp.concat([xp.take_along_axis(history, live.parents[:, :, None], axis=1), live.words[:, :, None]], axis=2)
        steps.append(_Step(live.parents, live.words, live.log_probabilities, attention))
        log_probabilities, words, attention = decoder.step(live.parents, live.words, settings.candidates)
    return _read_back(steps, finished, totals, broken, settings)


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


def _numpy(values: Array) -> npt.NDArray[Any]:
    return np.asarray(to_device(values, "cpu"))


class _ReadBack:
    """The sentences themselves, by following the parents back from their ends."""

    def __init__(self, steps: list[_Step]) -> None:
        self.steps = [
            (_numpy(step.parents), _numpy(step.words), _numpy(step.log_probabilities), _numpy(step.attention))
            for step in steps
        ]

    def sentence(self, frame: int, beam: int, length: int, score: float, end: float | None) -> Sentence:
        """The sentence of `length` words that beam `beam` held; `end` is its end's log-probability, None without an end."""
        words, values, maps = [], [], []
        for parents, step_words, log_probabilities, attention in reversed(self.steps[:length]):
            words.append(int(step_words[frame, beam]))
            values.append(float(log_probabilities[frame, beam]))
            beam = int(parents[frame, beam])
            maps.append(attention[frame, beam])
        tokens = values if end is None else [*values, end]
        return Sentence(
            words=tuple(reversed(words)),
            log_probabilities=tuple(reversed(values)),
            score=score,
            confidence=min(1.0, math.exp(sum(tokens) / len(tokens))),
            truncated=end is None,
            attention=np.array(maps[::-1], np.float32),
        )


def _read_back(
    steps: list[_Step], finished: _Finished, totals: Array, broken: Array, settings: BeamSettings
) -> list[list[Sentence] | None]:
    back = _ReadBack(steps)
    scores, ends = _numpy(finished.scores), _numpy(finished.ends)
    beams, lengths = _numpy(finished.parents), _numpy(finished.steps)
    last_totals, is_broken = _numpy(totals), _numpy(broken)
    result: list[list[Sentence] | None] = []
    for frame in range(len(scores)):
        done = [n for n in range(settings.beam) if scores[frame, n] > -np.inf][: settings.sentences]
        if is_broken[frame]:
            result.append(None)
        elif done:
            result.append(
                [
                    back.sentence(
                        frame, int(beams[frame, n]), int(lengths[frame, n]), float(scores[frame, n]), float(ends[frame, n])
                    )
                    for n in done
                ]
            )
        else:
            best, length = int(np.argmax(last_totals[frame])), len(steps)
            score = float(last_totals[frame, best]) / max(1, length) ** settings.length_penalty
            result.append([back.sentence(frame, best, length, score, None)])
    return result
