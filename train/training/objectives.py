"""A model and a batch of photos with captions in, a loss to learn from out: cross-entropy on the words that people wrote."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecap.captioning.model.decoder import AttentionDecoder, DecoderState
from framecap.captioning.model.encoder import Encoder
from framecap.config import TrainConfig
from train.data.batches import Batch
from train.training.model import Model

FEWEST_FOR_CIDER = 200  # photos: with fewer, CIDEr-D rates a broken sentence over a whole one by chance


class Outcome(NamedTuple):
    """This process's part of a step: summed over all processes, the step's loss and its measure (see
    `Objective.measure`)."""

    loss: Tensor
    measure: Tensor


class Objective(nn.Module):
    """What is trained and its loss. The encoder, where it is part of it, always stays in evaluation mode.

    So the statistics of its batch normalisation are those of its pretraining, however long it is trained: the few photos of
    a batch would only blur them.
    """

    measure: str  # as the log calls it
    measure_key: str  # as history.json calls it

    def __init__(self, model: Model, config: TrainConfig, from_images: bool) -> None:
        super().__init__()
        self.config = config
        self.decoder: AttentionDecoder = model.decoder
        self.encoder: Encoder | None = model.encoder if from_images else None
        self.sampling = 0.0  # part of the words that come from the model itself

    def judged_by(self, photos: int) -> Literal["cider_d", "validation_loss"]:
        """What tells the best weights, where so many photos judge."""
        return "cider_d" if photos >= FEWEST_FOR_CIDER else "validation_loss"

    def train(self, mode: bool = True) -> Objective:
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def features(self, seen: Tensor) -> Tensor:
        """What the decoder looks at: encoded images, or features that were cached."""
        if self.encoder is None:
            return seen.float()
        encoded: Tensor = self.encoder(seen)
        return encoded


class CrossEntropy(Objective):
    """Each word predicted from those before it, and every place of the image looked at about once a sentence."""

    measure, measure_key = "Top-5 Accuracy", "top_5"

    def forward(self, batch: Batch) -> Outcome:
        return self.outcome(self.features(batch.seen), batch)

    def outcome(self, features: Tensor, batch: Batch) -> Outcome:
        """Source of the attention's term: "Show, Attend and Tell", doubly stochastic attention."""
        hidden, attention = unroll(self.decoder, features, batch.captions, self.sampling if self.training else 0.0)
        following = batch.captions[:, :, 1:]
        real = torch.arange(following.shape[2], device=following.device) < (batch.lengths[:, :, None] - 1)
        logits, targets = self.decoder.logits(hidden[real]), following[real]
        words = functional.cross_entropy(
            logits.float(), targets, label_smoothing=self.config.label_smoothing, reduction="sum"
        )
        coverage = (attention.float() * real[..., None]).sum(dim=2)  # (photos, n, locations)
        uneven = ((1 - coverage) ** 2).mean(dim=2).sum()
        hits = (logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]).sum()
        loss = words / batch.words + self.config.attention_penalty * uneven / batch.sentences
        return Outcome(loss, 100 * hits / batch.words)


def unroll(decoder: AttentionDecoder, features: Tensor, captions: Tensor, sampling: float) -> tuple[Tensor, Tensor]:
    """As `decoder(features, captions)`, but this part of the words is drawn from what the decoder predicted there.

    Source: Bengio et al. 2015, "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks".
    """
    if sampling == 0:
        hidden, attention = decoder(features, captions)
        return hidden, attention
    memory, state = decoder.begin(features)
    beams, length = captions.shape[1:]
    state = DecoderState(*(part.expand(-1, beams, -1) for part in state))
    states, maps = [], []
    words = captions[:, :, 0]
    for step in range(length - 1):
        state, attention = decoder.advance(memory, state, words)
        states.append(state.hidden)
        maps.append(attention)
        words = _mixed(decoder, state.hidden, captions[:, :, step + 1], sampling)
    return torch.stack(states, dim=2), torch.stack(maps, dim=2)


@torch.no_grad()
def _mixed(decoder: AttentionDecoder, hidden: Tensor, given: Tensor, sampling: float) -> Tensor:
    """The given words, this part of them replaced by the decoder's own."""
    probabilities = decoder.logits(hidden).float().softmax(dim=2)
    own = torch.multinomial(probabilities.flatten(0, 1), 1).view(given.shape)
    return torch.where(torch.rand(given.shape, device=given.device) < sampling, own, given)
