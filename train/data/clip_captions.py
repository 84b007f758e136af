"""Which captions of a video clip its frames learn from: those that agree with the clip's others and can be seen.

People who watched the whole clip wrote them, so many say what a single frame does not show. A caption's consensus is its
mean similarity with the other captions of its clip: the cosine of their n-grams, weighted by how rare an n-gram is among
the clips. Scores are never filtered: a frame's references stay all captions of its clip.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from framecap.errors import ConfigError
from train.data.karpathy import Photo

Words = tuple[str, ...]
Gram = tuple[str, ...]

LONGEST = 3  # words of an n-gram
FEWEST_WORDS, MOST_WORDS = 4, 18  # of a caption to learn from
FEWEST_CAPTIONS = 3  # a frame with fewer that can be used does not train
INVISIBLE_WEIGHT = 0.35  # of the consensus of a caption that says what cannot be seen
INVISIBLE = (
    r"\b(talk|talks|talking|talked|discuss\w*|speak\w*|explain\w*|describ\w*|says|saying|tells|telling|said|interview\w*|"
    r"narrat\w*|voice\w*|commentat\w*|about|video|clip|scene|movie|film|show|advertis\w*|commercial|episode|trailer|"
    r"review\w*|sound|demonstrat\w*|famous|plays a song)\b"
)


@dataclass(frozen=True, kw_only=True)
class ClipFilter:
    """`captions`: how many of a clip's captions its frames learn from, the best first; 0: all of them.

    `invisible`: a regular expression of what cannot be seen, "": there is none. `clean_only`: frames that their data set
    does not call clean do not train.
    """

    captions: int = 5
    invisible: str = INVISIBLE
    clean_only: bool = True

    def __post_init__(self) -> None:
        if self.captions < 0:
            raise ConfigError(f"--clip-captions {self.captions}: must be 0 (all) or more")
        try:
            re.compile(self.invisible)
        except re.error as error:
            raise ConfigError(f"--invisible {self.invisible!r}: not a regular expression: {error}") from None


def chosen(photos: Sequence[Photo], how: ClipFilter) -> list[Photo]:
    """The photos of one data set, with what those of its train split that are frames of clips learn from."""
    train = [photo for photo in photos if photo.split == "TRAIN" and photo.clip is not None]
    scores = consensus(train, how.invisible) if how.captions else {}
    found: list[Photo] = []
    for photo in photos:
        if photo.split != "TRAIN" or photo.clip is None:
            found.append(photo)
        elif not how.clean_only or photo.clean:
            learned = _best(photo, scores, how.captions) if how.captions else photo.captions
            if len(learned) >= min(FEWEST_CAPTIONS, how.captions or 1):
                found.append(replace(photo, learned=learned if how.captions else None))
    return found


def consensus(photos: Sequence[Photo], invisible: str) -> dict[tuple[str | None, Words], float]:
    """The consensus of each clip's captions, 0 to 1, by clip and caption."""
    clips: dict[str | None, dict[Words, None]] = defaultdict(dict)
    for photo in photos:
        clips[photo.clip].update(dict.fromkeys(photo.captions))
    containing: Counter[Gram] = Counter()  # how many clips have an n-gram
    for captions in clips.values():
        containing.update({gram for words in captions for gram in _grams(words)})
    rarity = {gram: math.log(len(clips) / count) for gram, count in containing.items()}
    pattern = re.compile(invisible) if invisible else None
    found: dict[tuple[str | None, Words], float] = {}
    for clip, captions in clips.items():
        grams = {words: _grams(words) for words in captions}
        norms = {words: math.sqrt(sum((n * rarity[g]) ** 2 for g, n in counts.items())) for words, counts in grams.items()}
        for words in captions:
            others = [other for other in captions if other != words]
            total = sum(
                _product(grams[words], grams[other], rarity) / (norms[words] * norms[other] + 1e-9) for other in others
            )
            weight = INVISIBLE_WEIGHT if pattern and pattern.search(" ".join(words)) else 1.0
            found[clip, words] = weight * total / max(1, len(others))
    return found


def _product(one: Mapping[Gram, int], other: Mapping[Gram, int], rarity: Mapping[Gram, float]) -> float:
    return sum(min(count, other[gram]) * other[gram] * rarity[gram] ** 2 for gram, count in one.items() if gram in other)


def _best(photo: Photo, scores: Mapping[tuple[str | None, Words], float], count: int) -> tuple[Words, ...]:
    """The photo's different captions of a usable length with the highest consensus."""
    usable = [words for words in dict.fromkeys(photo.captions) if FEWEST_WORDS <= len(words) <= MOST_WORDS]
    return tuple(sorted(usable, key=lambda words: -scores[photo.clip, words])[:count])


def _grams(words: Words) -> Counter[Gram]:
    return Counter(tuple(words[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1))
