"""A decoder and sentences in; how probable each sentence is for its frame, out: a teacher-forced pass of all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device, to_device

from framecap.captioning.beam import Decoder

LIKELY = 100  # next words that are looked through: to rank a whole vocabulary would take longer than all else


def score(decoder: Decoder, sentences: Sequence[Sequence[Sequence[int]]], end: int) -> list[list[float]]:
    """The mean log-probability of each frame's sentences, word numbers without the end, which is counted.

    Takes as many steps as the longest sentence has words; frames may have different numbers of sentences, each one at
    least. -inf for a sentence with a word that is not among the LIKELY likeliest at its place, or is never said; NaN or
    -inf where the decoder gave NaN.
    """
    beams, longest = max(map(len, sentences)), max(len(words) for several in sentences for words in several)
    padded = np.full((len(sentences), beams, longest + 1), end, np.int64)
    lengths = np.zeros((len(sentences), beams), np.int64)
    for frame, several in enumerate(sentences):
        for beam, words in enumerate(several):
            padded[frame, beam, : len(words)] = words
            lengths[frame, beam] = len(words)
    log_probabilities, numbers, _ = decoder.step(None, None, LIKELY)
    xp = array_namespace(log_probabilities)
    where = device(log_probabilities)
    wanted, until = xp.asarray(padded, device=where), xp.asarray(lengths, device=where)
    totals = xp.zeros((len(sentences), beams), dtype=log_probabilities.dtype, device=where)
    parents = xp.zeros((len(sentences), beams), dtype=wanted.dtype, device=where)
    for index in range(longest + 1):
        word = wanted[:, :, index]
        same = numbers == word[:, :, None]
        found = xp.sum(xp.where(same, log_probabilities, 0.0), axis=2)
        found = xp.where(xp.any(same, axis=2), found, -xp.inf)
        totals = totals + xp.where(until >= index, found, 0.0)
        if index < longest:
            log_probabilities, numbers, _ = decoder.step(parents, word, LIKELY)
            parents = xp.zeros_like(parents) + xp.arange(beams, device=where)[None, :]
    means = np.asarray(to_device(totals, "cpu")) / (lengths + 1)
    return [[float(mean) for mean in means[frame, : len(several)]] for frame, several in enumerate(sentences)]
