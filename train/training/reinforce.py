"""A trained model in, one out whose sampled sentences score higher: self-critical sequence training with CIDEr-D as reward.

A sentence that scores better than the model's others about the same photo becomes likelier, a worse one less likely. CIDEr-D
alone teaches sentences that end on "a" or "in a": it counts n-grams, and a torn ending costs it little. Two things speak for
whole sentences here, and nothing else does: the end counts as a word of the sentence and of the references, so that an
ending that nobody wrote matches nothing and weighs much; and some cross-entropy on people's captions is mixed in.

Sources: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning" (`baseline: greedy`); Luo 2020, "A Better
Variant of Self-Critical Sequence Training" (`baseline: mean`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from framecap.captioning.model.decoder import AttentionDecoder, DecoderState
from framecap.captioning.vocabulary import END, Vocabulary
from framecap.config import TrainConfig
from framecap.scoring.bleu import sentence_bleu
from framecap.scoring.cider import SCALE, CiderD
from train.data.batches import Batch, TrainingData
from train.training.distributed import Processes
from train.training.fit import train_model
from train.training.model import Model
from train.training.objectives import CrossEntropy, Outcome
from train.training.run import Run, folder_of_its_own, record_of


def reinforce(
    config: TrainConfig, material: TrainingData, model: Model, out: Path, here: Processes, *, resume: bool = False
) -> Model:
    """Train `model` by reward into the folder `out`; the best weights, perhaps those it began with."""
    own = config.reinforce
    settings = config.model_copy(
        update={
            **{key: value for key, value in model.architecture().items() if key in TrainConfig.model_fields},
            "epochs": own.epochs,
            "learning_rate": own.learning_rate,
            "encoder_learning_rate": own.encoder_learning_rate,
            "scheduled_sampling": 0.0,
        }
    )
    reward = Reward([[[*words, END] for words in captions] for captions in material.train.split.objectives], own.bleu)
    objective = SelfCritical(model, settings, material.train.features is None, reward, here)
    with folder_of_its_own(out, here):
        run = Run(out, record_of("reinforce", settings, material, model, here), model, here, resume)
        return train_model(objective, material, settings, run, judge_first=True)


class Reward:
    """CIDEr-D of sentences about a photo, and this much of their BLEU-4 on the same scale, 0 to 10."""

    def __init__(self, references: Sequence[Sequence[Sequence[str]]], bleu: float) -> None:
        self._references, self._bleu, self._cider = references, bleu, CiderD(references)

    def score(self, photo: int, sentences: Sequence[Sequence[str]]) -> list[float]:
        """Each sentence's reward."""
        scores = self._cider.score(photo, sentences)
        if not self._bleu:
            return scores
        meant = self._references[photo]
        return [
            score + self._bleu * SCALE * sentence_bleu(words, meant) for score, words in zip(scores, sentences, strict=True)
        ]


class Sampled(NamedTuple):
    """Sentences: `words` (photos, n, longest) with <start> before and <end> after; `lengths` (photos, n), both included.

    A sentence that found no end in time has none; its length still says how many words stand there.
    """

    words: Tensor
    lengths: Tensor


class SelfCritical(CrossEntropy):
    """Dropout is off: what is sampled from is what is trained."""

    measure, measure_key = "Reward", "reward"  # 100 times the samples' mean

    def __init__(self, model: Model, config: TrainConfig, from_images: bool, reward: Reward, here: Processes) -> None:
        super().__init__(model, config, from_images)
        self.reward, self.here, self.vocabulary = reward, here, model.vocabulary

    def judged_by(self, photos: int) -> Literal["cider_d", "validation_loss"]:
        """Always by CIDEr-D: reward makes people's own captions less probable, so their loss only rises."""
        return "cider_d"

    def train(self, mode: bool = True) -> SelfCritical:
        super().train(mode)
        self.decoder.eval()
        return self

    def forward(self, batch: Batch) -> Outcome:
        own = self.config.reinforce
        features = self.features(batch.seen)
        sampled = sample(self.decoder, features.detach(), self.vocabulary, own.samples, own.max_words)
        rewards = self.rewards(batch, sampled)
        if own.baseline == "greedy":
            greedy = sample(self.decoder, features.detach(), self.vocabulary, 0, own.max_words)
            baseline = self.rewards(batch, greedy)
        else:
            baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (own.samples - 1)
        likelihoods, count = self.likelihoods(features, sampled)
        loss = -((rewards - baseline) * likelihoods).sum() / self.here.total(count)
        photos = batch.sentences / batch.captions.shape[1]  # of all processes
        if own.cross_entropy:
            loss = loss + own.cross_entropy * self.outcome(features, batch).loss
        return Outcome(loss, 100 * rewards.sum() / (photos * own.samples))

    def rewards(self, batch: Batch, sampled: Sampled) -> Tensor:
        """The reward of each sentence, its end counted as a word, (photos, n)."""
        words, lengths = sampled.words.tolist(), sampled.lengths.tolist()
        scores = [
            self.reward.score(
                int(photo), [self.vocabulary.decode(row[1:length]) for row, length in zip(rows, of_photo, strict=True)]
            )
            for photo, rows, of_photo in zip(batch.photos, words, lengths, strict=True)
        ]
        return torch.tensor(np.array(scores, np.float32), device=sampled.words.device)

    def likelihoods(self, features: Tensor, sampled: Sampled) -> tuple[Tensor, Tensor]:
        """The log-probability of each sentence (photos, n), and how many words they have."""
        hidden, _ = self.decoder(features, sampled.words)
        following = sampled.words[:, :, 1:]
        real = torch.arange(following.shape[2], device=following.device) < (sampled.lengths[:, :, None] - 1)
        first = torch.zeros_like(real)
        first[:, :, 0] = True
        chances = allowed(self.decoder.logits(hidden[real]).float(), self.vocabulary, first[real]).log_softmax(dim=1)
        chosen = torch.zeros(real.shape, device=real.device)
        chosen = chosen.masked_scatter(real, chances.gather(1, following[real][:, None]).squeeze(1))
        return chosen.sum(dim=2), real.sum()


@torch.no_grad()
def sample(decoder: AttentionDecoder, features: Tensor, vocabulary: Vocabulary, samples: int, max_words: int) -> Sampled:
    """So many sentences about each photo, drawn word by word; 0: the greedy one."""
    memory, state = decoder.begin(features)
    beams = max(1, samples)
    state = DecoderState(*(part.expand(-1, beams, -1) for part in state))
    words = torch.full((len(features), beams), vocabulary.start, device=features.device)
    sentences = [words]
    lengths = torch.ones_like(words)
    running = torch.ones_like(words, dtype=torch.bool)
    for step in range(max_words + 1):
        state, _ = decoder.advance(memory, state, words)
        first = torch.full_like(running, step == 0)
        scores = allowed(decoder.logits(state.hidden).float(), vocabulary, first)
        if samples:
            words = torch.multinomial(scores.softmax(dim=2).flatten(0, 1), 1).view(words.shape)
        else:
            words = scores.argmax(dim=2)
        words = words.where(running, vocabulary.end)
        lengths += running
        running = running & (words != vocabulary.end)
        sentences.append(words)
        if not running.any():
            break
    return Sampled(torch.stack(sentences, dim=2), lengths)


def allowed(logits: Tensor, vocabulary: Vocabulary, first: Tensor) -> Tensor:
    """logits (..., words) without what no caption may hold, and without an end where it would be the first word."""
    forbidden = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    forbidden[list(vocabulary.suppressed)] = True
    end = torch.zeros_like(forbidden)
    end[vocabulary.end] = True
    return logits.masked_fill(forbidden | (first[..., None] & end), -torch.inf)
