"""Which words a caption may say twice: the one list behind the search's rule against repetition and behind its count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from framecap.captioning.vocabulary import END, Vocabulary

# Everything else is a content word. Colours are here because "a black jacket and black trousers" is no repetition.
_WORDS = """
a an the this that these those some any all both each every either neither other another others same such no
one two three four five six seven eight nine ten several many few more most much lot pair
i you he she it we they me him her us them his hers its our ours your yours their theirs my mine
himself herself itself themselves who whom whose which what when where why how there here
is are was were be been being am has have had having do does did doing will would can could may might must shall should not
and or but nor so yet if than then as while because though although
of in on at by for from to into onto out off over under above below up down with without within through across along
around about against among between behind beside besides before after beyond near next toward towards upon inside
outside during past like very too also just only still again away back together apart 's ' s
black white red blue green yellow brown orange pink purple grey gray tan gold golden silver blond blonde dark light
"""
REPEATABLE_WORDS = frozenset(_WORDS.split())


def repeatable_numbers(vocabulary: Vocabulary) -> tuple[int, ...]:
    """The numbers of the words that a caption may hold twice, in order; the end of the sentence is among them."""
    return tuple(number for number, word in enumerate(vocabulary.words) if word in REPEATABLE_WORDS or word == END)


def repeated_words(words: Sequence[str]) -> list[str]:
    """The content words that the caption says more than once."""
    return [word for word, count in Counter(words).items() if count > 1 and word not in REPEATABLE_WORDS]
