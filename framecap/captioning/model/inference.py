"""An encoder and a decoder in, the same for inference out: in one precision, in fewer and larger operations.

What changes beside the order of the sums: relu(key + query) is max(key, -query) + query, and what is the same at all places
(the query's part) does not change a softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from framecap.captioning.model.attention import best_scores
from framecap.captioning.model.decoder import AttentionDecoder, DecoderState, EncoderMemory
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.model.folded import fold

_LSTM_PARTS = (0, 1, 3, 2)  # enter, forget, leave, candidate: the three sigmoids lie together


class InferenceDecoder(nn.Module):
    """Made from an AttentionDecoder, on its device; `suppressed_words` are the words of `suppressed`."""

    suppressed_words: Tensor

    def __init__(self, model: AttentionDecoder, suppressed: tuple[int, ...], precision: torch.dtype) -> None:
        super().__init__()
        shape, self.precision = model.shape, precision
        self.hidden = shape.hidden
        self.project = self._linear(model.project) if isinstance(model.project, nn.Linear) else nn.Identity()
        self.keys = self._linear(model.encoder_attention)
        self.initial = self._linear(model.initial_hidden, model.initial_cell)
        self.query_and_gate = self._linear(model.decoder_attention, model.gate, negated=1)
        self.attention = self._parameter(model.full_attention.weight[0])
        self.embedding = self._parameter(model.embedding.weight)
        lstm = model.lstm
        weight = _in_order(torch.cat([lstm.weight_ih, lstm.weight_hh], dim=1))
        bias = _in_order(lstm.bias_ih + lstm.bias_hh)
        self.gates, self.gates_bias = self._parameter(weight), self._parameter(bias)
        self.output = self._linear(model.output)
        self.scores = best_scores(model.output.weight.device, precision)
        self.register_buffer("suppressed_words", torch.tensor(suppressed, device=model.output.weight.device))
        self.requires_grad_(False)

    def _linear(self, *layers: nn.Linear, negated: int = 0) -> nn.Linear:
        """Layers of the same input as one, side by side; the first `negated` of them with the other sign."""
        signs = [-1.0 if number < negated else 1.0 for number in range(len(layers))]
        both = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), device="meta")
        both.weight = self._parameter(torch.cat([sign * layer.weight for sign, layer in zip(signs, layers, strict=True)]))
        both.bias = self._parameter(torch.cat([sign * layer.bias for sign, layer in zip(signs, layers, strict=True)]))
        return both

    def _parameter(self, values: Tensor) -> nn.Parameter:
        return nn.Parameter(values.detach().to(self.precision).contiguous(), requires_grad=False)

    def begin(self, features: Tensor) -> tuple[EncoderMemory, DecoderState]:
        """features (frames, locations, width) → the memory and a state of one beam a frame."""
        values = self.project(features.to(self.precision))
        hidden, cell = self.initial(values.mean(dim=1, keepdim=True)).split(self.hidden, dim=2)
        return EncoderMemory(values, self.keys(values)), DecoderState(hidden, cell)

    def step(self, memory: EncoderMemory, state: DecoderState, words: Tensor) -> tuple[DecoderState, Tensor, Tensor]:
        """One word (frames, beams) further: the state, logits (frames, beams, words), attention (frames, beams,
        locations)."""
        width = memory.values.shape[2]
        negated_query, gate = self.query_and_gate(state.hidden).split([memory.keys.shape[2], width], dim=2)
        attention = self.scores(memory.keys, negated_query, self.attention).softmax(dim=2)
        context = torch.matmul(attention, memory.values).mul_(gate.sigmoid())
        inputs = torch.cat([functional.embedding(words, self.embedding), context, state.hidden], dim=2)
        gates = functional.linear(inputs, self.gates, self.gates_bias)
        enter, forget, leave = gates[:, :, : 3 * self.hidden].sigmoid().chunk(3, dim=2)
        cell = torch.addcmul(forget * state.cell, enter, gates[:, :, 3 * self.hidden :].tanh())
        hidden = leave * cell.tanh()
        return DecoderState(hidden, cell), self.output(hidden), attention


def _in_order(gates: Tensor) -> Tensor:
    parts = gates.chunk(4)
    return torch.cat([parts[number] for number in _LSTM_PARTS])


class InferenceEncoder(nn.Module):
    """Made from an Encoder, on its device: images (n, size, size, 3) uint8 RGB → features (n, locations, width)."""

    scale: Tensor
    shift: Tensor
    pool: Tensor | None

    def __init__(self, encoder: Encoder, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision
        self.backbone = fold(encoder.backbone).to(dtype=precision, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("scale", encoder.scale.to(precision))
        self.register_buffer("shift", (-encoder.mean * encoder.scale).to(precision))
        rows, columns = encoder.pool_rows, encoder.pool_columns
        pool = None if rows is None or columns is None else torch.kron(rows, columns).to(precision)
        self.register_buffer("pool", pool)  # (locations, rows * columns of the map)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = torch.addcmul(self.shift, images.to(self.precision), self.scale)  # a byte is exact in every precision
        maps: Tensor = self.backbone(pixels.permute(0, 3, 1, 2))  # channels last: the memory stays as it is
        locations = maps.permute(0, 2, 3, 1).flatten(1, 2)
        return locations if self.pool is None else self.pool @ locations
