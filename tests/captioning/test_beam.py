"""Beam search against a naive one that keeps Python lists; what holds for every runtime's bookkeeping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.captioning.beam import BeamSettings, search
from tests.captioning.tables import END, SUPPRESSED, RandomModel, TableDecoder


@dataclass(frozen=True)
class Found:
    words: tuple[int, ...]
    total: float
    score: float
    truncated: bool


def repeats(sentence: tuple[int, ...], word: int, n: int) -> bool:
    longer = (*sentence, word)
    groups = [longer[i : i + n] for i in range(len(longer) - n + 1)]
    return bool(n) and bool(groups) and groups[-1] in groups[:-1]


def naive_search(model: RandomModel, frame: int, rules: BeamSettings) -> list[Found]:
    """The definition in beam.py's docstring, one frame at a time, over the whole vocabulary."""
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[Found] = []
    for length in range(rules.max_words + 1):
        continuations = [
            (sentence, word, total + value)
            for sentence, total in live
            for word, value in enumerate(model.log_probabilities(frame, sentence))
            if value > -math.inf
            and not (word == END and not sentence)
            and not (word != END and repeats(sentence, word, rules.block_ngrams))
            and not (rules.repeatable is not None and word not in rules.repeatable and word in sentence)
        ]
        continuations.sort(key=lambda c: -c[2])
        ended = [c for c in continuations[: rules.beam] if c[1] == END]
        finished += [Found(s, total, total / (length + 1) ** rules.length_penalty, False) for s, _, total in ended]
        if len(finished) >= rules.beam or length == rules.max_words:
            break
        live = [((*s, word), total) for s, word, total in continuations if word != END][: rules.beam]
    finished.sort(key=lambda f: -f.score)
    if finished:
        return finished[: rules.beam]
    sentence, total = live[0]
    return [Found(sentence, total, total / len(sentence) ** rules.length_penalty, True)]


RULES = st.builds(
    BeamSettings,
    beam=st.integers(1, 5),
    max_words=st.integers(1, 8),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0]),
    block_ngrams=st.integers(0, 3),
    sentences=st.integers(1, 5),
    repeatable=st.sampled_from([None, (), (1, 4, 5), (1, 4, 6, 7, 9)]),
)


@settings(max_examples=300, deadline=None)
@given(rules=RULES, words=st.integers(10, 30), seed=st.integers(0, 2**32), frames=st.integers(1, 4))
def test_finds_what_the_naive_search_finds(rules: BeamSettings, words: int, seed: int, frames: int) -> None:
    model = RandomModel(words, seed)
    for frame, sentences in enumerate(search(TableDecoder(model, frames), END, rules)):
        expected = naive_search(model, frame, rules)[: rules.sentences]
        assert sentences is not None
        assert [s.words for s in sentences] == [e.words for e in expected]
        for sentence, found in zip(sentences, expected, strict=True):
            assert sentence.truncated == found.truncated
            assert sentence.score == pytest.approx(found.score)
            tokens = len(found.words) + (not found.truncated)
            assert sentence.confidence == pytest.approx(math.exp(found.total / tokens))
            assert len(sentence.log_probabilities) == len(sentence.words)
        assert sentences[0].attention is not None
        assert len(sentences[0].attention) == len(sentences[0].words)


@settings(max_examples=50, deadline=None)
@given(beam=st.integers(1, 5), max_words=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_only_repeatable_words_stand_twice_in_a_caption(beam: int, max_words: int, seed: int) -> None:
    rules = BeamSettings(beam=beam, max_words=max_words, block_ngrams=0, sentences=beam, repeatable=(END, 4, 5))
    for sentences in search(TableDecoder(RandomModel(12, seed, spread=0.1), 3), END, rules):
        for sentence in sentences or []:
            content = [word for word in sentence.words if word not in (4, 5)]
            assert len(content) == len(set(content))


@settings(max_examples=50, deadline=None)
@given(rules=RULES, seed=st.integers(0, 2**32))
def test_captions_are_never_empty_special_or_repeating(rules: BeamSettings, seed: int) -> None:
    for sentences in search(TableDecoder(RandomModel(14, seed, spread=0.1), 3), END, rules):
        assert sentences
        for sentence in sentences:
            assert sentence.words
            assert not {END, *SUPPRESSED} & set(sentence.words)
            for address, word in enumerate(sentence.words):
                assert not repeats(sentence.words[:address], word, rules.block_ngrams)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(2, 6))
def test_a_frame_does_not_depend_on_its_batch(seed: int, frames: int) -> None:
    model = RandomModel(20, seed)

    class OneFrame(RandomModel):
        def log_probabilities(self, frame: int, sentence: tuple[int, ...]) -> np.ndarray:
            return model.log_probabilities(frames - 1, sentence)

    together = search(TableDecoder(model, frames), END, BeamSettings(sentences=3))
    alone = search(TableDecoder(OneFrame(20, seed), 1), END, BeamSettings(sentences=3))
    assert [s.words for s in together[-1] or []] == [s.words for s in alone[0] or []]


def test_torch_finds_what_numpy_finds() -> None:
    torch = pytest.importorskip("torch")
    for seed in range(20):
        model, rules = RandomModel(25, seed), BeamSettings(sentences=5, max_words=12, repeatable=(END, 4, 5, 6, 7, 8))
        with_numpy = search(TableDecoder(model, 3), END, rules)
        with_torch = search(TableDecoder(model, 3, torch.from_numpy), END, rules)
        assert [[s.words for s in f or []] for f in with_torch] == [[s.words for s in f or []] for f in with_numpy]


@pytest.mark.faults(17)
def test_a_sentence_that_never_ends_is_given_as_truncated() -> None:
    class Endless(RandomModel):
        def log_probabilities(self, frame: int, sentence: tuple[int, ...]) -> np.ndarray:
            values = super().log_probabilities(frame, sentence)
            values[END] = -np.inf
            return values

    for sentences in search(TableDecoder(Endless(20, 1), 4), END, BeamSettings(max_words=6)):
        assert sentences is not None
        assert sentences[0].truncated
        assert len(sentences[0].words) == 6


@pytest.mark.faults(16)
def test_nan_of_one_frame_leaves_the_others_alone() -> None:
    class Broken(RandomModel):
        def log_probabilities(self, frame: int, sentence: tuple[int, ...]) -> np.ndarray:
            values = super().log_probabilities(frame, sentence)
            return np.full_like(values, np.nan) if frame == 1 and len(sentence) == 2 else values

    found = search(TableDecoder(Broken(20, 1), 3), END, BeamSettings(length_penalty=0.0))
    sound = search(TableDecoder(RandomModel(20, 1), 3), END, BeamSettings(length_penalty=0.0))
    assert found[1] is None
    assert (found[0], found[2]) == (sound[0], sound[2])


def test_a_word_after_the_last_one_that_fits_ends_the_sentence_or_truncates_it() -> None:
    class EndsLate(RandomModel):
        def log_probabilities(self, frame: int, sentence: tuple[int, ...]) -> np.ndarray:
            values = super().log_probabilities(frame, sentence)
            values[END] = 0.0 if len(sentence) == 4 else -np.inf
            return values

    [ends] = search(TableDecoder(EndsLate(20, 1), 1), END, BeamSettings(max_words=4))
    [truncated] = search(TableDecoder(EndsLate(20, 1), 1), END, BeamSettings(max_words=3))
    assert [(s.truncated, len(s.words)) for s in ends or []] == [(False, 4)]
    assert [(s.truncated, len(s.words)) for s in truncated or []] == [(True, 3)]
