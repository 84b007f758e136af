"""Words and their numbers: token sequences in, word sequences and readable sentences out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from framecap.errors import BundleError

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
MAX_WORDS = 1_000_000
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


@dataclass(frozen=True)
class Vocabulary:
    """All words a decoder knows; a word's number is its place. The four special tokens are among them.

    Source: the word map of a-PyTorch-Tutorial-to-Image-Captioning (`WORDMAP_*.json`), which maps words to numbers.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [token for token in (PAD, START, END, UNKNOWN) if token not in self.words]
        if missing:
            raise BundleError(f"vocabulary: the special tokens {', '.join(missing)} are missing")
        if len(set(self.words)) != len(self.words):
            raise BundleError("vocabulary: a word stands in it twice")
        suppressed_words = next((word for word in self.words if _UNPRINTABLE.search(word)), None)
        if suppressed_words is not None:
            raise BundleError(
                f"vocabulary: {suppressed_words[:100]!a} holds control characters or surrogates: no caption may"
            )
        object.__setattr__(self, "_numbers", {word: number for number, word in enumerate(self.words)})

    def __len__(self) -> int:
        return len(self.words)

    def number(self, word: str) -> int:
        """The word's number, `<unk>`'s for a word that is not in the vocabulary."""
        numbers: dict[str, int] = self._numbers  # type: ignore[attr-defined]
        return numbers.get(word, numbers[UNKNOWN])

    @property
    def start(self) -> int:
        return self.number(START)

    @property
    def end(self) -> int:
        return self.number(END)

    @property
    def suppressed(self) -> tuple[int, ...]:
        """The numbers that no caption may hold."""
        return tuple(sorted(self.number(token) for token in (PAD, START, UNKNOWN)))

    def encode(self, words: Iterable[str]) -> list[int]:
        """`<start>`, the words' numbers, `<end>`."""
        return [self.start, *(self.number(word) for word in words), self.end]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words of these numbers."""
        return [self.words[number] for number in numbers]

    def to_json(self) -> str:
        """The word map: a JSON object from words to numbers."""
        return json.dumps({word: number for number, word in enumerate(self.words)}, ensure_ascii=False)

    @classmethod
    def from_word_map(cls, word_map: Mapping[str, int]) -> Vocabulary:
        """A vocabulary from a word map. Raises BundleError when its numbers are not 0, 1, 2, ..."""
        if len(word_map) > MAX_WORDS or any(type(number) is not int for number in word_map.values()):
            raise BundleError("word map: it must map words to whole numbers")
        words = sorted(word_map, key=word_map.__getitem__)
        if [word_map[word] for word in words] != list(range(len(words))):
            raise BundleError("word map: its numbers must be 0, 1, 2, ... without gaps")
        return cls(tuple(words))

    @classmethod
    def from_json(cls, text: str | bytes) -> Vocabulary:
        """A vocabulary from a word map's JSON. Raises BundleError."""
        try:
            word_map = json.loads(text)
        except ValueError as error:
            raise BundleError(f"word map: not JSON: {error}") from None
        except RecursionError:
            raise BundleError("word map: nested too deeply") from None
        if not isinstance(word_map, dict):
            raise BundleError("word map: a JSON object from words to numbers is expected")
        return cls.from_word_map(word_map)


def sentence(words: Sequence[str], capitalise: bool, full_stop: bool) -> str:
    """The words as they read in a sentence: `a dog runs` → `A dog runs.`"""
    text = " ".join(words)
    if capitalise:
        text = text[:1].upper() + text[1:]
    return text + "." if full_stop else text
