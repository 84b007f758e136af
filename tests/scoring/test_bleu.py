"""BLEU is pycocoevalcap's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.scoring.bleu import bleu, counts
from tests.scoring.test_cider import SOME_WORDS
from train.evaluation.scores import score, statistics

PHOTOS = st.lists(st.tuples(SOME_WORDS, st.lists(SOME_WORDS, min_size=1, max_size=4)), min_size=2, max_size=6)


@given(PHOTOS)
@settings(max_examples=150, deadline=None)
def test_it_is_pycocoevalcaps(photos: list[tuple[list[str], list[list[str]]]]) -> None:
    output, meant = [words for words, _ in photos], [several for _, several in photos]
    found = np.array([counts(words, several) for words, several in photos])
    assert (found == statistics(output, meant).bleu).all()
    scores = score(output, meant)
    expected = [scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4]
    assert [float(value[0]) for value in bleu(found.sum(axis=0, keepdims=True).astype(float))] == pytest.approx(expected)


def test_no_words_score_nothing() -> None:
    found = np.array([counts([], [["a", "dog"]])], float)
    assert [float(value[0]) for value in bleu(found)] == pytest.approx([0] * 4, abs=1e-3)
