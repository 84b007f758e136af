"""The decoder: features in, next words' log-probabilities and the attention out, one step or a whole sentence at a time.

An LSTM with soft attention, as in "Show, Attend and Tell" (Xu et al. 2015) and a-PyTorch-Tutorial-to-Image-Captioning: the
same parameters, so that such checkpoints can be taken over; `memory` adds a projection of the features, once a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Widths of a decoder; stands in the bundle."""

    words: int
    features: int
    memory: int | None
    embedding: int
    hidden: int
    attention: int


class EncoderMemory(NamedTuple):
    """What is looked at, once a frame: `values` (n, locations, width) and their attention keys (n, locations, attention)."""

    values: Tensor
    keys: Tensor


class DecoderState(NamedTuple):
    """The LSTM's hidden and cell state, (frames, beams, hidden) each."""

    hidden: Tensor
    cell: Tensor


class AttentionDecoder(nn.Module):
    """Beams are sentences about the same frame: a beam search's, or in training a photo's captions."""

    def __init__(self, shape: DecoderShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        width = shape.memory or shape.features
        self.project = nn.Linear(shape.features, width) if shape.memory else nn.Identity()
        self.embedding = nn.Embedding(shape.words, shape.embedding)
        self.encoder_attention = nn.Linear(width, shape.attention)
        self.decoder_attention = nn.Linear(shape.hidden, shape.attention)
        self.full_attention = nn.Linear(shape.attention, 1)
        self.gate = nn.Linear(shape.hidden, width)
        self.initial_hidden = nn.Linear(width, shape.hidden)
        self.initial_cell = nn.Linear(width, shape.hidden)
        self.lstm = nn.LSTMCell(shape.embedding + width, shape.hidden)
        self.output = nn.Linear(shape.hidden, shape.words)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def begin(self, features: Tensor) -> tuple[EncoderMemory, DecoderState]:
        """features (frames, locations, width) → the memory and a state of one beam a frame."""
        values = self.project(self.dropout(features) if self.shape.memory else features)
        mean = values.mean(dim=1, keepdim=True)
        return EncoderMemory(values, self.encoder_attention(values)), DecoderState(
            self.initial_hidden(mean), self.initial_cell(mean)
        )

    def attend(self, memory: EncoderMemory, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The gated context (frames, beams, width) and the attention (frames, beams, locations), which sums to 1.

        relu(key + query) is max(key, -query) + query, and the query's part is the same at all places: the softmax does
        not see it. One ignore (frames, beams, locations, attention) numbers instead of two.
        """
        query = self.decoder_attention(hidden)
        scores = self.full_attention(torch.maximum(memory.keys[:, None], -query[:, :, None])).squeeze(3)
        attention = scores.softmax(dim=2)
        return torch.sigmoid(self.gate(hidden)) * torch.matmul(attention, memory.values), attention

    def spoken(self, embedded: Tensor) -> Tensor:
        """What words say to the LSTM's gates: (..., embedding) → (..., 4 * hidden), whatever the state is.

        Of the whole vocabulary (`embedding.weight`) it is a table: a search looks its words up and saves a quarter of the
        LSTM's arithmetic.
        """
        return functional.linear(embedded, self.lstm.weight_ih[:, : self.shape.embedding], self.lstm.bias_ih)

    def advance(self, memory: EncoderMemory, state: DecoderState, words: Tensor) -> tuple[DecoderState, Tensor]:
        """One word (frames, beams) further: the new state and the attention (frames, beams, locations)."""
        return self.go_on(memory, state, self.spoken(self.embedding(words)))

    def go_on(self, memory: EncoderMemory, state: DecoderState, spoken: Tensor) -> tuple[DecoderState, Tensor]:
        """`advance` where what the words say, (frames, beams, 4 * hidden), is known already."""
        context, attention = self.attend(memory, state.hidden)
        seen = functional.linear(context, self.lstm.weight_ih[:, self.shape.embedding :])
        gates = spoken + seen + functional.linear(state.hidden, self.lstm.weight_hh, self.lstm.bias_hh)
        enter, forget, candidate, leave = torch.split(gates, self.shape.hidden, dim=2)
        cell = torch.sigmoid(forget) * state.cell + torch.sigmoid(enter) * torch.tanh(candidate)
        return DecoderState(torch.sigmoid(leave) * torch.tanh(cell), cell), attention

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., hidden) → (..., words)."""
        scores: Tensor = self.output(self.dropout(hidden))
        return scores

    def forward(self, features: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: features (frames, locations, width) and captions (frames, beams, length).

        Returns the hidden states (frames, beams, length - 1, hidden), whose `logits` are those of the words after the
        first, and the attention (frames, beams, length - 1, locations). What belongs to padding means nothing.
        """
        memory, state = self.begin(features)
        beams, length = captions.shape[1:]
        state = DecoderState(*(part.expand(-1, beams, -1) for part in state))
        hidden, attentions = [], []
        for step in range(length - 1):
            state, attention = self.advance(memory, state, captions[:, :, step])
            hidden.append(state.hidden)
            attentions.append(attention)
        return torch.stack(hidden, dim=2), torch.stack(attentions, dim=2)
