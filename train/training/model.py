"""The encoder, decoder and vocabulary that a run trains: made from a configuration, or read from a run's checkpoint.

A checkpoint is one safetensors file that holds all that `export` needs: both parts' weights and, as JSON in its header,
their architecture, the preprocessing, the vocabulary and what they were trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from framecap.captioning.bundle import DecoderCard, Width
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.config import TrainConfig
from framecap.errors import ConfigError, FramecapError
from train.data.held_out import HeldOut, checked
from train.files import write_durably

FORMAT = 1
_HEADER = "framecap"


@dataclass(frozen=True)
class Model:
    """What is trained; `about` says what it was trained with so far."""

    encoder: Encoder
    decoder: AttentionDecoder
    vocabulary: Vocabulary
    about: Mapping[str, Any]

    def weights(self) -> nn.ModuleDict:
        """Both parts under the names that checkpoints and bundles use."""
        return nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})

    @property
    def held_out(self) -> HeldOut:
        """How many photos of the split TRAIN judged the run that it comes from."""
        return checked(self.about.get("run", {}).get("data", {}).get("held_out", 0))

    def training(self) -> dict[str, Any]:
        """What a bundle's card says of its training: nothing of the machine it was made on."""
        return _training(self.about)

    def architecture(self) -> dict[str, Any]:
        """What must be equal for weights to fit."""
        grid = self.encoder.grid[0] if self.encoder.pool_rows is not None else None
        return {"encoder": self.encoder.name, "size": self.encoder.size, "grid": grid, **asdict(self.decoder.shape)}


def _training(about: Mapping[str, Any]) -> dict[str, Any]:
    run, before = about.get("run", {}), about.get("before")
    data = run.get("data", {})
    output = {
        "command": f"python -m train {run.get('command', 'fit')}",
        "lesson": run.get("command", "fit"),
        "data": f"{data.get('train', 'not said')}; judged by {data.get('judge', 'not said')}",
        "settings": run.get("settings", {}),
        "epochs": about.get("epochs", []),
        "weights": about.get("is", {}),
    }
    return {**output, "before": _training(before)} if before else output


def new_model(config: TrainConfig, vocabulary: Vocabulary, pretrained: bool) -> Model:
    """A model of the configuration's widths with a new decoder; the same seed gives the same weights."""
    torch.manual_seed(config.seed)
    encoder = Encoder(config.encoder, config.size, config.grid, pretrained).eval()
    shape = DecoderShape(
        words=len(vocabulary),
        features=encoder.width,
        memory=config.memory,
        embedding=config.embedding,
        hidden=config.hidden,
        attention=config.attention,
    )
    return Model(encoder, AttentionDecoder(shape, config.dropout), vocabulary, {})


def save_model(model: Model, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    header = {
        "format": FORMAT,
        "architecture": model.architecture(),
        "words": model.vocabulary.words,
        "about": dict(model.about),
    }
    weights = {name: value.contiguous().cpu() for name, value in model.weights().state_dict().items()}
    write_durably(path, save(weights, {_HEADER: json.dumps(header)}))


def checkpoint_path(name: Path) -> Path:
    """`runs/x/best` and `runs/x` both mean the file runs/x/best.safetensors. Raises ConfigError where there is none."""
    for path in (name, name.with_name(f"{name.name}.safetensors"), name / "best.safetensors"):
        if path.is_file():
            return path
    raise ConfigError(f"{name}: no checkpoint there: name a run's, such as runs/x/best (made by `python -m train fit`)")


class _Architecture(DecoderCard):
    """`Model.architecture`."""

    kind: Literal["attention_lstm"] = "attention_lstm"
    encoder: str
    size: Annotated[int, Field(ge=16, le=4096)]
    grid: Width | None

    def parts(self, dropout: float) -> tuple[Encoder, AttentionDecoder]:
        shape = self.model_dump(exclude={"kind", "encoder", "size", "grid"})
        return Encoder(self.encoder, self.size, self.grid), AttentionDecoder(DecoderShape(**shape), dropout)


class _Header(BaseModel):
    """What a checkpoint says of itself."""

    format: Literal[1]
    architecture: _Architecture
    words: tuple[str, ...]
    about: dict[str, Any] = {}


def load_model(path: Path, dropout: float = 0.0) -> Model:
    """Read a checkpoint that `save_model` wrote. Raises ConfigError, saying what is wrong with it."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: not a whole checkpoint ({error}): it is no safetensors file, or was cut short") from None
    if text is None:
        raise ConfigError(f"{path}: not a checkpoint of `python -m train fit` (other programs' are read by `train import`)")
    try:
        header = _Header.model_validate_json(text)
        model = Model(*header.architecture.parts(dropout), Vocabulary(header.words), header.about)
        model.training(), model.held_out
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
        raise ConfigError(f"{path}: its header describes no model that this version knows: {why}") from None
    except (AttributeError, TypeError, ValueError, RuntimeError, FramecapError) as error:
        raise ConfigError(f"{path}: its header describes no model that this version knows: {error}") from None
    _load(model, weights, path)
    return model


def _load(model: Model, weights: Mapping[str, Tensor], path: Path) -> None:
    """Strictly: every weight must be there, have its shape, and be the only one of its name."""
    try:
        model.weights().load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise ConfigError(f"{path}: a checkpoint of another architecture than its header says: {first}") from None
    if len(model.vocabulary) != model.decoder.shape.words:
        raise ConfigError(f"{path}: {len(model.vocabulary)} words, but the decoder has {model.decoder.shape.words}")
    model.weights().eval()


def check_architecture(model: Model, config: TrainConfig, path: Path) -> None:
    """Raises ConfigError where the configuration names another model than the checkpoint holds, naming the keys.

    What is left at its default is the checkpoint's.
    """
    defaults = type(config)().model_dump()
    given = {key: value for key, value in config.model_dump().items() if value != defaults[key]}
    wrong = [
        f"train.{key} is {given[key]!r} but {value!r} in the checkpoint"
        for key, value in model.architecture().items()
        if key in given and given[key] != value
    ]
    if wrong:
        raise ConfigError(f"{path}: a checkpoint of another architecture: {'; '.join(wrong)}")


def check_vocabulary(model: Model, vocabulary: Vocabulary, path: Path) -> None:
    """Raises ConfigError when a data folder's word map has words that the checkpoint has not."""
    unknown = sorted(set(vocabulary.words) - set(model.vocabulary.words))
    if unknown:
        raise ConfigError(
            f"{path}: its {len(model.vocabulary)} words are not the {len(vocabulary)} of the data folder's word map, which "
            f"has {unknown[0]!r}, too: name the data folder it was trained on"
        )
