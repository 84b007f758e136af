"""Scores: those of pycocoevalcap, from sums over photos; their intervals; nltk's BLEU beside them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.evaluation.scores import Scores, as_text, intervals, nltk_bleu, score, scores_of, statistics, table

words = st.sampled_from(["a", "dog", "runs", "on", "the", "grass", "two", "men", "play", "ball", "in", "snow"])
photo = st.tuples(st.lists(words, max_size=9), st.lists(st.lists(words, min_size=1, max_size=9), min_size=1, max_size=5))
Photos = list[tuple[list[str], list[list[str]]]]


def made_up(photos: int, seed: int = 1) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Captions that are the first reference with one to three words changed, and five references each."""
    choose = random.Random(seed)
    vocabulary = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "in", "grass", "snow", "red", "two", "ball"]
    references = [[choose.choices(vocabulary, k=choose.randint(6, 11)) for _ in range(5)] for _ in range(photos)]
    captions = [list(several[0]) for several in references]
    for caption in captions:
        for address in choose.sample(range(len(caption)), choose.randint(1, 3)):
            caption[address] = choose.choice(vocabulary)
    return captions, references


@settings(max_examples=40, deadline=None)
@given(st.lists(photo, min_size=1, max_size=6))
def test_the_scores_are_pycocoevalcaps_own(photos: Photos) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    captions, references = zip(*photos, strict=True)
    output = {number: [text] for number, text in enumerate(as_text(captions))}
    meant = {number: as_text(several) for number, several in enumerate(references)}
    bleu, _ = Bleu(4).compute_score(meant, output, verbose=0)
    expected = [*bleu, Rouge().compute_score(meant, output)[0], 100 * Cider().compute_score(meant, output)[0]]
    found = score(captions, references)
    values = [found.bleu_1, found.bleu_2, found.bleu_3, found.bleu_4, found.rouge_l, found.cider_d]
    assert values == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_perfect_captions_and_wrong_ones() -> None:
    """Perfect captions score 1 and, of CIDEr-D's ten times ten, as much as their n-grams are rare."""
    references = [[["a", "dog", "runs", "fast"]], [["two", "boys", "play", "ball"]]]
    perfect = score([captions[0] for captions in references], references)
    assert (perfect.bleu_4, perfect.rouge_l, perfect.cider_d) == pytest.approx((1, 1, 1000), abs=1e-3)
    half = score([["a", "dog", "runs", "fast"], ["a", "dog", "runs", "fast"]], references)
    assert half.cider_d == pytest.approx(500, abs=1e-3)
    assert half.bleu_1 == pytest.approx(0.5, abs=1e-6)


def test_a_photo_that_is_drawn_twice_counts_twice() -> None:
    captions, references = made_up(4)
    drawn = [0, 0, 3]
    weights = np.array([[2.0, 0, 0, 1]])
    found = statistics(captions, references).scores(weights)
    expected = score([captions[n] for n in drawn], [references[n] for n in drawn])
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"):
        assert found[name][0] == pytest.approx(getattr(expected, name))


def test_intervals_hold_the_score_and_are_narrower_for_more_photos() -> None:
    widths = []
    for photos in (50, 800):
        found = statistics(*made_up(photos))
        bounds = intervals(photos, found.scores)
        for name, value in scores_of(found).rounded().items():
            low, high = bounds[name]
            assert low < value < high
        widths.append(bounds["cider_d"][1] - bounds["cider_d"][0])
        assert intervals(photos, found.scores) == bounds  # the same seed draws the same photos
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.35)  # sixteen times the photos


def test_the_interval_of_a_mean_is_statistics_own() -> None:
    """A normal sample's mean: 1.96 standard errors to either side."""
    values = np.random.default_rng(5).normal(10, 3, 900)
    bounds = intervals(900, lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, samples=4000)["mean"]
    error = 1.96 * values.std() / 30
    assert bounds == pytest.approx((values.mean() - error, values.mean() + error), abs=0.03)


def test_nltks_bleu_is_cocos_but_for_captions_that_are_too_short() -> None:
    captions, references = made_up(60)
    found = score(captions, references)
    assert nltk_bleu(captions, references) == pytest.approx(
        [found.bleu_1, found.bleu_2, found.bleu_3, found.bleu_4], abs=1e-6
    )
    captions[0] = captions[0][:2]
    assert nltk_bleu(captions, references)[3] < score(captions, references).bleu_4
    assert nltk_bleu([["x"]], [[["y"]]]) == [0, 0, 0, 0]


def test_the_table_shows_what_each_row_has() -> None:
    rows = [("a", Scores(0.5, 0.4, 0.3, 0.2, 0.4, 51.0)), ("b", Scores(0.5, 0.4, 0.3, 0.2, 0.46314, 1.2, meteor=0.2))]
    head, _, first, second = table(rows).splitlines()
    assert head == "| | bleu_1 | bleu_2 | bleu_3 | bleu_4 | rouge_l | cider_d | meteor |"
    assert first == "| a | 0.5000 | 0.4000 | 0.3000 | 0.2000 | 0.4000 | 51.00 |  |"
    assert second == "| b | 0.5000 | 0.4000 | 0.3000 | 0.2000 | 0.4631 | 1.20 | 0.2000 |"
