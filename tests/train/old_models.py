"""The tutorial's classes as a checkpoint pickles them, in a throw-away module named `models`; after sgrvinod's tutorial.

Names, attributes and arithmetic are those of a-PyTorch-Tutorial-to-Image-Captioning's models.py (MIT licence) and of the
seed's; the residual network is handed in, so that the tests can take a small one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    def __init__(self, resnet: nn.Module, encoded_image_size: int = 14) -> None:
        super().__init__()
        self.enc_image_size = encoded_image_size
        self.resnet = nn.Sequential(*list(resnet.children())[:-2])
        self.adaptive_pool = nn.AdaptiveAvgPool2d((encoded_image_size, encoded_image_size))

    def forward(self, images: Tensor) -> Tensor:
        out = self.adaptive_pool(self.resnet(images))
        return out.permute(0, 2, 3, 1)


class Attention(nn.Module):
    def __init__(self, encoder_dim: int, decoder_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.encoder_att = nn.Linear(encoder_dim, attention_dim)
        self.decoder_att = nn.Linear(decoder_dim, attention_dim)
        self.full_att = nn.Linear(attention_dim, 1)
        self.relu = nn.ReLU()
        self.softmax = nn.Softmax(dim=1)

    def forward(self, encoder_out: Tensor, decoder_hidden: Tensor) -> tuple[Tensor, Tensor]:
        att1 = self.encoder_att(encoder_out)
        att2 = self.decoder_att(decoder_hidden)
        att = self.full_att(self.relu(att1 + att2.unsqueeze(1))).squeeze(2)
        alpha = self.softmax(att)
        return (encoder_out * alpha.unsqueeze(2)).sum(dim=1), alpha


class DecoderWithAttention(nn.Module):
    def __init__(
        self, attention_dim: int, embed_dim: int, decoder_dim: int, vocab_size: int, encoder_dim: int, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder_dim, self.attention_dim, self.embed_dim = encoder_dim, attention_dim, embed_dim
        self.decoder_dim, self.vocab_size = decoder_dim, vocab_size
        self.attention = Attention(encoder_dim, decoder_dim, attention_dim)
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        self.dropout = nn.Dropout(p=dropout)
        self.decode_step = nn.LSTMCell(embed_dim + encoder_dim, decoder_dim, bias=True)
        self.init_h = nn.Linear(encoder_dim, decoder_dim)
        self.init_c = nn.Linear(encoder_dim, decoder_dim)
        self.f_beta = nn.Linear(decoder_dim, encoder_dim)
        self.sigmoid = nn.Sigmoid()
        self.fc = nn.Linear(decoder_dim, vocab_size)
        self.embedding.weight.data.uniform_(-0.1, 0.1)
        self.fc.weight.data.uniform_(-0.1, 0.1)
        self.fc.bias.data.fill_(0)

    def begin(self, encoder_out: Tensor) -> tuple[Tensor, Tensor]:
        mean = encoder_out.mean(dim=1)
        return self.init_h(mean), self.init_c(mean)

    def step(self, encoder_out: Tensor, h: Tensor, c: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of the tutorial's caption.py: scores (log-probabilities), attention, and the new state."""
        awe, alpha = self.attention(encoder_out, h)
        awe = self.sigmoid(self.f_beta(h)) * awe
        h, c = self.decode_step(torch.cat([self.embedding(words), awe], dim=1), (h, c))
        return torch.log_softmax(self.fc(h), dim=1), alpha, h, c


for _kind in (Encoder, Attention, DecoderWithAttention):
    _kind.__module__ = "models"


@contextmanager
def models_module() -> Iterator[None]:
    """While a checkpoint is written, `models` is a module; when it is read, there is none."""
    module = ModuleType("models")
    vars(module).update({kind.__name__: kind for kind in (Encoder, Attention, DecoderWithAttention)})
    sys.modules["models"] = module
    try:
        yield
    finally:
        del sys.modules["models"]
