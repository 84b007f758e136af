"""Word maps in and out, and sentences as people read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, sentence
from framecap.errors import BundleError

SPECIAL = (PAD, START, END, UNKNOWN)
LETTERS = st.characters(exclude_categories=["Cc", "Cs"])
WORDS = st.lists(st.text(LETTERS, min_size=1).filter(lambda word: word not in SPECIAL), unique=True)


@given(WORDS)
def test_a_word_map_survives_its_json(words: list[str]) -> None:
    vocabulary = Vocabulary((PAD, *words, UNKNOWN, START, END))
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(words)) == [START, *words, END]


def test_an_unknown_word_is_unk_and_never_reported() -> None:
    vocabulary = Vocabulary((PAD, "dog", UNKNOWN, START, END))
    assert vocabulary.encode(["dog", "zebra"]) == [3, 1, 2, 4]
    assert vocabulary.suppressed == (0, 2, 3)


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("[1, 2]", "a JSON object"),
        ("{", "not JSON"),
        (json.dumps({PAD: 0, "dog": 2, START: 3, END: 4, UNKNOWN: 5}), "without gaps"),
        (json.dumps({PAD: 0, "dog": 0, START: 1, END: 2, UNKNOWN: 3}), "without gaps"),
        (json.dumps({PAD: 0, "dog": "1"}), "whole numbers"),
        (json.dumps({"dog": 0, "cat": 1}), "<pad>, <start>, <end>, <unk> are missing"),
    ],
)
def test_what_is_no_word_map_is_refused(text: str, output: str) -> None:
    with pytest.raises(BundleError, match=output):
        Vocabulary.from_json(text)


@pytest.mark.parametrize(
    ("capitalise", "full_stop", "text"),
    [
        (True, True, "A dog runs."),
        (False, False, "a dog runs"),
        (True, False, "A dog runs"),
        (False, True, "a dog runs."),
    ],
)
def test_a_sentence_reads_as_configured(capitalise: bool, full_stop: bool, text: str) -> None:
    assert sentence(["a", "dog", "runs"], capitalise, full_stop) == text
