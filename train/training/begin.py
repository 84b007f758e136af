"""What a run begins with: another run's checkpoint or a bundle, its vocabulary grown by the words of the data folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from framecap.captioning.bundle import BUNDLED_MODELS, open_bundle
from framecap.captioning.model.decoder import AttentionDecoder
from framecap.captioning.runtimes.pytorch import load_modules
from framecap.captioning.vocabulary import Vocabulary
from framecap.config import TrainConfig
from train.training.model import Model, check_architecture, checkpoint_path, load_model

NEW_WORD_SCALE = 0.3  # of the usual random weights: a new word begins with little to say for or against it


@dataclass(frozen=True)
class Growth:
    """A model whose vocabulary is its own and then the data's; `added` words are new, `unused` ones the data never say."""

    model: Model
    added: int
    unused: int


def load_start(name: Path, config: TrainConfig) -> Model:
    """The model of a checkpoint (runs/x/best) or of a bundle's folder (`default`: the bundled one).

    Raises ConfigError or BundleError, and ConfigError where the configuration names another architecture.
    """
    folder = BUNDLED_MODELS / name if str(name) == "default" and not name.exists() else name
    if not (folder / "bundle.json").is_file():
        path = checkpoint_path(name)
        model = load_model(path, config.dropout)
    else:
        path, bundle = folder, open_bundle(str(folder))
        encoder, decoder = load_modules(bundle)
        trained = AttentionDecoder(decoder.shape, config.dropout)
        trained.load_state_dict(decoder.state_dict())
        about = {"run": {"command": "export", "data": {"train": f"the bundle {bundle.card.name} {bundle.hash[:12]}"}}}
        model = Model(encoder, trained.eval(), bundle.vocabulary, about)
    check_architecture(model, config, path)
    return model


def settings_of(model: Model, config: TrainConfig) -> TrainConfig:
    """The configuration with the model's architecture."""
    return config.model_copy(
        update={key: value for key, value in model.architecture().items() if key in type(config).model_fields}
    )


def grown(model: Model, words: Vocabulary, dropout: float) -> Growth:
    """The model with the words that it has not yet, none of its own lost."""
    own, wanted = model.vocabulary.words, set(words.words)
    added = tuple(word for word in words.words if word not in set(own))
    unused = sum(word not in wanted for word in own)
    if not added:
        return Growth(model, 0, unused)
    shape = replace(model.decoder.shape, words=len(own) + len(added))
    decoder = AttentionDecoder(shape, dropout).eval()
    fresh, trained = decoder.state_dict(), model.decoder.state_dict()
    decoder.load_state_dict({name: _with_rows(name, fresh[name], value) for name, value in trained.items()})
    return Growth(replace(model, decoder=decoder, vocabulary=Vocabulary((*own, *added))), len(added), unused)


@torch.no_grad()
def _with_rows(name: str, fresh: Tensor, trained: Tensor) -> Tensor:
    """The trained values, and below them, where the vocabulary has grown, rows for the new words.

    A new word is about as unlikely as the least likely one that is known, so that it is said only once it is learned.
    """
    if fresh.shape == trained.shape:
        return trained
    rows = fresh[len(trained) :].clone()
    if name == "output.bias":
        rows = torch.full_like(rows, trained.min().item())
    elif name == "output.weight":
        rows *= NEW_WORD_SCALE
    return nn.Parameter(torch.cat([trained, rows]), requires_grad=False)
