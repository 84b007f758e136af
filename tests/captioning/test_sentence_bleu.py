"""BLEU-4 of single sentences, as a reward needs it."""

from __future__ import annotations

import pytest
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

from framecap.scoring.bleu import sentence_bleu

REFERENCES = [["a", "dog", "runs", "on", "the", "grass"], ["a", "brown", "dog", "runs"]]


@pytest.mark.parametrize("output", ["a dog runs on the grass", "a dog runs on a street", "the brown dog sits on the grass"])
def test_it_is_nltk_s_with_one_added(output: str) -> None:
    expected = nltk_bleu(REFERENCES, output.split(), smoothing_function=SmoothingFunction().method2)
    assert sentence_bleu(output.split(), REFERENCES) == pytest.approx(expected)


def test_nothing_right_is_nothing() -> None:
    assert sentence_bleu([], REFERENCES) == 0
    assert sentence_bleu(["cat"], REFERENCES) == 0
