"""Which words may stand twice in a caption, and that the bundled model's captions keep to it in both runtimes."""

from __future__ import annotations

import numpy as np

from framecap.captioning.bundle import open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.load import load_captioner
from framecap.captioning.repetition import REPEATABLE_WORDS, repeatable_numbers, repeated_words
from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from framecap.config import CaptioningConfig


def test_repeated_words_are_content_words_reported_twice() -> None:
    assert repeated_words(["a", "man", "on", "a", "bike", "on", "a", "bike"]) == ["bike"]
    assert repeated_words(["a", "man", "in", "a", "black", "coat", "and", "black", "trousers"]) == []
    assert repeated_words([]) == []


def test_repeatable_numbers_are_function_words_and_the_end() -> None:
    vocabulary = Vocabulary((PAD, "dog", "a", "on", UNKNOWN, START, END))
    assert repeatable_numbers(vocabulary) == (2, 3, 6)


def test_most_of_the_bundled_vocabulary_is_content() -> None:
    words = open_bundle("default").vocabulary.words
    assert len(REPEATABLE_WORDS & set(words)) > 80
    assert len(repeatable_numbers(open_bundle("default").vocabulary)) < len(words) / 10


def test_bundled_model_repeats_no_content_word_in_any_of_its_sentences() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6, 7, 7, 3)).astype(np.uint8)
    images = noise.repeat(32, axis=1).repeat(32, axis=2)
    for runtime in ("onnx", "torch"):
        captioner = load_captioner(CaptioningConfig(runtime=runtime, threads=1, alternatives=4))
        for caption in captioner.caption(images):
            assert isinstance(caption, Caption)
            for text in (caption.text, *(text for text, _ in caption.alternatives)):
                assert repeated_words(text.lower().rstrip(".").split()) == []
