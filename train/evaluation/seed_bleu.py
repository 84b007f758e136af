"""A bundle and a split in, the BLEU-4 out that the seed and the tutorial print in validation; no score to compare with.

Their validate() does not let the model speak: at each step it gives the true words so far and takes the most probable next
one, for as many words as the true caption has; references hold <unk> where a word is rare, so that <unk> can match. What is
measured is how well the next word is guessed. It is here to compare a run with such a project's log, and for nothing else.
"""

from __future__ import annotations

import numpy as np
import torch

from framecap.captioning.bundle import Bundle
from framecap.captioning.model.decoder import AttentionDecoder
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.runtimes.pytorch import load_modules
from framecap.captioning.vocabulary import PAD, START, Vocabulary
from train.data.dataset import Split
from train.evaluation.scores import nltk_bleu

BATCH = 16  # photos


def seed_bleu_4(bundle: Bundle, split: Split, vocabulary: Vocabulary, threads: int = 0) -> float:
    """BLEU-4 (nltk) of teacher-forced words; `vocabulary` is that of the split's word numbers."""
    return nltk_bleu(*teacher_forced(bundle, split, vocabulary, threads))[3]


def teacher_forced(
    bundle: Bundle, split: Split, vocabulary: Vocabulary, threads: int = 0
) -> tuple[list[list[str]], list[list[list[str]]]]:
    """What validate() scores: for each caption the guessed words and its photo's captions, as the bundle's word numbers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and threads:
        torch.set_num_threads(threads)
    encoder, decoder = load_modules(bundle)
    encoder.to(device)
    decoder.to(device)
    numbers = np.array([bundle.vocabulary.number(word) for word in vocabulary.words])
    unwritten = {bundle.vocabulary.number(token) for token in (PAD, START)}
    output: list[list[str]] = []
    meant: list[list[list[str]]] = []
    for start in range(0, len(split), BATCH):
        photos = slice(start, start + BATCH)
        captions = numbers[split.captions[photos]]
        guessed = _guess(encoder, decoder, split.read_images(start, min(start + BATCH, len(split))), captions)
        for photo, lengths in enumerate(split.lengths[photos]):
            references = [[str(word) for word in caption if word not in unwritten] for caption in captions[photo]]
            for words, length in zip(guessed[photo], lengths, strict=True):
                output.append([str(word) for word in words[: length - 1]])
                meant.append(references)
    return output, meant


@torch.inference_mode()
def _guess(encoder: Encoder, decoder: AttentionDecoder, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """The most probable word after each word of each caption, (photos, n, length - 1)."""
    features = encoder(torch.from_numpy(images).to(encoder.mean.device))
    hidden, _ = decoder(features, torch.from_numpy(captions).to(features.device))
    guessed: np.ndarray = decoder.logits(hidden).argmax(dim=3).cpu().numpy()
    return guessed
