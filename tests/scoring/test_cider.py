"""The reward is CIDEr-D as pycocoevalcap computes it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from framecap.scoring.cider import CiderD

WORDS = st.lists(st.sampled_from(["a", "dog", "runs", "in", "the", "snow", "red", "<end>"]), max_size=9)
SOME_WORDS = WORDS.filter(len)
PHOTOS = st.lists(st.tuples(WORDS, st.lists(SOME_WORDS, min_size=1, max_size=4)), min_size=2, max_size=6)


@given(PHOTOS)
@settings(max_examples=150, deadline=None)
def test_it_is_pycocoevalcaps(photos: list[tuple[list[str], list[list[str]]]]) -> None:
    output = {number: [" ".join(words)] for number, (words, _) in enumerate(photos)}
    meant = {number: [" ".join(words) for words in several] for number, (_, several) in enumerate(photos)}
    _, expected = Cider().compute_score(meant, output)
    reward = CiderD([several for _, several in photos])
    found = [reward.score(number, [words])[0] for number, (words, _) in enumerate(photos)]
    assert found == pytest.approx(list(expected), abs=1e-6)


def test_an_ending_that_no_one_wrote_costs_more_when_the_end_is_a_word() -> None:
    references = [["a", "dog", "runs", "in", "the", "snow"], ["a", "dog", "in", "snow"]]
    others = [[["two", "men", "sit"]], [["a", "red", "car"]], [["a", "ball", "in", "a", "tree"]]]
    whole, truncated = ["a", "dog", "runs", "in", "the", "snow"], ["a", "dog", "runs", "in", "the", "snow", "in", "a"]

    def lost(end: list[str]) -> float:
        reward = CiderD([[[*words, *end] for words in several] for several in [references, *others]])
        good, bad = reward.score(0, [[*whole, *end], [*truncated, *end]])
        return (good - bad) / good

    assert lost(["<end>"]) > lost([]) + 0.05


def test_it_is_fast_enough_for_a_reward() -> None:
    words = [f"word{number}" for number in range(200)]
    references = [[[words[(photo * 7 + n * 3 + k) % 200] for k in range(11)] for n in range(5)] for photo in range(300)]
    reward = CiderD(references)
    sentences = [references[0][0][:k] for k in range(5, 11)]
    started = time.process_time()
    for photo in range(100):
        reward.score(photo, sentences)
    assert time.process_time() - started < 2  # a step has about 24 photos; this is a hundred
