"""A bundle on disk in, its verified parts out.

A bundle is a folder of five files: `bundle.json` (this schema), `vocabulary.json` (a word map), `model.safetensors` (every
weight, once: matrices in fp16, vectors in fp32), and the graphs `encoder.onnx` and `decoder.onnx`, which point into it.
Both runtimes read the same numbers, but for a bundle in int8: those stand in the graphs themselves, and PyTorch goes on
with the weights that they were made from. Nothing in it can run code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framecap.captioning.external_data import external_locations
from framecap.captioning.vocabulary import Vocabulary
from framecap.errors import BundleError

FORMAT = 1
WEIGHTS, VOCABULARY, ENCODER, DECODER = "model.safetensors", "vocabulary.json", "encoder.onnx", "decoder.onnx"
PARTS = (VOCABULARY, WEIGHTS, ENCODER, DECODER)
MAX_JSON_BYTES = 64 << 20
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a bundle
_SMALLEST = 1e-30  # a confidence of 0 has no logarithm
_STEEPEST = 500.0  # exp of more overflows
BUNDLED_MODELS = Path(__file__).parent.parent / "bundles"

Width = Annotated[int, Field(ge=1, le=1_000_000)]
Channels = tuple[float, float, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EncoderCard(_Part):
    """The encoder's name (see model/encoder.py) and the grid it is resampled to; null: as it comes."""

    name: str
    grid: Width | None


class DecoderCard(_Part):
    """The widths of the attention LSTM decoder (see model/decoder.py)."""

    kind: Literal["attention_lstm"]
    words: Width
    features: Width
    memory: Width | None
    embedding: Width
    hidden: Width
    attention: Width


class PreprocessingCard(_Part):
    """Images are resized to a square to size x size RGB; mean and std (of values 0 to 255) are applied inside the model."""

    size: Annotated[int, Field(ge=16, le=4096)]
    mean: Channels
    std: Channels


class CalibrationCard(_Part):
    """What a raw confidence c is worth: a caption fits with the probability 1 / (1 + exp(-(slope * ln c + intercept))).

    To fit is to score at least `target` CIDEr-D, which three of four captions by people reach when they are compared with
    the others of their photo. Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines"; fitted by
    train/evaluation/calibrate.py on `photos` that the model was not trained on.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Annotated[float, Field(allow_inf_nan=False)]
    target: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    photos: Annotated[int, Field(ge=1)]

    def probability(self, confidence: float) -> float:
        """Of a caption with this raw confidence (0 to 1) to fit its image."""
        logit = self.slope * math.log(max(confidence, _SMALLEST)) + self.intercept
        return 1 / (1 + math.exp(-max(logit, -_STEEPEST)))


class BundleCard(_Part):
    """bundle.json."""

    format: Literal[1]
    name: Annotated[str, Field(pattern=NAME)]
    encoder: EncoderCard
    decoder: DecoderCard
    preprocessing: PreprocessingCard
    places: tuple[Width, Width] = Field(description="rows and columns of the grid that the decoder looks at")
    calibration: CalibrationCard | None = Field(None, description="of the confidence; null: confidences are raw")
    training: dict[str, Any] = Field(description="data and settings it was trained with")
    scores: dict[str, Any]
    licences: dict[str, str]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @property
    def hash(self) -> str:
        """What names the model in every sidecar: SHA-256 over the files' hashes and all that changes a caption's record."""
        named = {"encoder", "decoder", "preprocessing", "places", "files"} | ({"calibration"} if self.calibration else set())
        parts = self.model_dump(mode="json", include=named)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    card: BundleCard
    vocabulary: Vocabulary
    hash: str


def open_bundle(name: str) -> Bundle:
    """The bundle `default` (the bundled model), or the one in the folder `name`; every part's hash is checked.

    Raises BundleError, naming the part and what to do.
    """
    path = BUNDLED_MODELS / name if name == "default" else Path(name)
    card = _read_card(path)
    if set(card.files) != set(PARTS):
        raise BundleError(f"{path}/bundle.json: its files must be {', '.join(PARTS)}")
    for part, expected in card.files.items():
        if file_hash(path / part) != expected:
            raise BundleError(f"{path}/{part}: not the file that bundle.json names: copy or export the whole bundle again")
    for graph in (ENCODER, DECODER):
        _refuse_other_files(path, graph)
    vocabulary = Vocabulary.from_json(_read_json(path / VOCABULARY))
    if len(vocabulary) != card.decoder.words:
        raise BundleError(
            f"{path}: the vocabulary has {len(vocabulary)} words, the decoder {card.decoder.words}: they are of two models"
        )
    return Bundle(path, card, vocabulary, card.hash)


def _refuse_other_files(path: Path, graph: str) -> None:
    """Raises BundleError where a graph uses a file that bundle.json does not name: its hash would not cover the captions."""
    for location in external_locations((path / graph).read_bytes()):
        if location not in PARTS:
            raise BundleError(f"{path}/{graph}: takes numbers from {location[:200]!a}, which bundle.json does not name")


def file_hash(path: Path) -> str:
    """SHA-256 of a part. Raises BundleError when it is missing."""
    try:
        _need_file(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}: the bundle is not whole, copy or export it again") from None


def _need_file(path: Path) -> None:
    """Raises an OSError unless it is a regular file: nothing else is opened, which may take for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file")


def _read_json(path: Path) -> bytes:
    _need_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BundleError(f"{path}: too large: more than {MAX_JSON_BYTES} bytes")
    return path.read_bytes()


def _read_card(path: Path) -> BundleCard:
    file = path / "bundle.json"
    try:
        return BundleCard.model_validate_json(_read_json(file))
    except OSError as error:
        raise BundleError(
            f"{path}: no model bundle here ({file.name}: {error.strerror}): name a bundle's folder, or "
            "`default` for the bundled model; `python -m train export` makes bundles"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        index = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(f"{file}: {index}: {first['msg']}") from None
