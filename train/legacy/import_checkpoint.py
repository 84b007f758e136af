"""A checkpoint of the tutorial or of the seed and its word map in, a bundle out: the same weights under our names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from framecap.captioning.bundle import MAX_JSON_BYTES, Bundle
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.errors import BundleError, ConfigError
from train.export.bundle import export
from train.legacy.checkpoints import LegacyCheckpoint, read_legacy_checkpoint

SIZE = 256  # pixels of an image's side, in the tutorial's and the seed's data folders
ENCODERS = (  # torchvision's, told apart by their weights' shapes
    *("resnext101_32x8d", "resnet101", "resnet18", "resnet34", "resnet50", "resnet152"),
    *("resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
NAMES = {  # of the decoder's layers
    "attention.encoder_att": "encoder_attention",
    "attention.decoder_att": "decoder_attention",
    "attention.full_att": "full_attention",
    "embedding": "embedding",
    "decode_step": "lstm",
    "init_h": "initial_hidden",
    "init_c": "initial_cell",
    "f_beta": "gate",
    "fc": "output",
}
LICENCE = "not stated in the checkpoint: ask who trained it"


def import_checkpoint(checkpoint: Path, word_map: Path, out: Path, name: str, bgr: bool) -> Bundle:
    """Export the checkpoint's encoder and decoder as a bundle. Raises ConfigError, naming what does not fit.

    `bgr`: the images that it was trained on had their channels the other way round, as the seed's had.
    """
    vocabulary = _vocabulary(word_map)
    old = read_legacy_checkpoint(checkpoint)
    try:
        encoder, decoder = convert_encoder(old, bgr), convert_decoder(old)
    except ValueError as error:
        raise ConfigError(f"{checkpoint}: {error}") from None
    if encoder.width != decoder.shape.features:
        raise ConfigError(
            f"{checkpoint}: its encoder gives {encoder.width} features, its decoder takes {decoder.shape.features}"
        )
    if len(vocabulary) != decoder.shape.words:
        raise ConfigError(
            f"{word_map}: has {len(vocabulary)} words, the checkpoint's decoder {decoder.shape.words}: it is another data "
            "set's word map: take the WORDMAP file of the data folder that the checkpoint was trained on"
        )
    epochs = None if old.epoch is None else old.epoch + 1
    training = {"taken over from": checkpoint.name, "epochs": epochs, "channels": "BGR" if bgr else "RGB"}
    return export(out, name, encoder, decoder, vocabulary, {"training": training, "licences": {"weights": LICENCE}})


def convert_encoder(old: LegacyCheckpoint, bgr: bool) -> Encoder:
    """The encoder with its weights, for RGB images. Raises ValueError when it is not torchvision's residual network."""
    weights = {name.removeprefix("resnet."): value for name, value in old.encoder.items() if name.startswith("resnet.")}
    if len(weights) != len(old.encoder):
        raise ValueError("its encoder has other weights than those of `resnet`: not the tutorial's encoder")
    encoder = Encoder(encoder_name(weights), SIZE, old.grid)
    if bgr:  # it saw blue by red's statistics, and the other way round
        weights["0.weight"] = weights["0.weight"].flip(1)
        encoder.normalise(IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])
    encoder.backbone.load_state_dict(weights)
    return encoder.eval()


def convert_decoder(old: LegacyCheckpoint) -> AttentionDecoder:
    """The decoder with its weights. Raises ValueError when they are not the tutorial's decoder's."""
    weights: dict[str, Tensor] = {}
    for name, value in old.decoder.items():
        layer, _, kind = name.rpartition(".")
        if layer not in NAMES:
            raise ValueError(f"its decoder has the weights {name[:100]!r}: not the tutorial's attention decoder")
        weights[f"{NAMES[layer]}.{kind}"] = value
    try:
        decoder = AttentionDecoder(_shape(weights))
        decoder.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"its decoder's weights are not the tutorial's: {error}") from None
    return decoder.eval()


def _shape(weights: Mapping[str, Tensor]) -> DecoderShape:
    words, embedding = weights["embedding.weight"].shape
    attention, features = weights["encoder_attention.weight"].shape
    hidden = weights["lstm.weight_hh"].shape[1]
    return DecoderShape(words=words, features=features, memory=None, embedding=embedding, hidden=hidden, attention=attention)


def encoder_name(weights: Mapping[str, Tensor]) -> str:
    """Which of ENCODERS has weights of these names and shapes. Raises ValueError when none has."""
    shapes = {name: value.shape for name, value in weights.items()}
    for name in ENCODERS:
        if {key: value.shape for key, value in layers(name).state_dict().items()} == shapes:
            return name
    raise ValueError(f"its encoder is none of torchvision's {', '.join(ENCODERS)}")


def layers(name: str) -> nn.Module:
    """A network as the tutorial cuts it, without memory for its weights."""
    import torchvision

    with torch.device("meta"):
        return nn.Sequential(*list(torchvision.models.get_model(name).children())[:-2])


def _vocabulary(word_map: Path) -> Vocabulary:
    try:
        if word_map.stat().st_size > MAX_JSON_BYTES:
            raise ConfigError(f"{word_map}: too large for a word map")
        return Vocabulary.from_json(word_map.read_bytes())
    except OSError as error:
        raise ConfigError(f"{word_map}: cannot be read ({error.strerror}): name the WORDMAP_*.json with --wordmap") from None
    except BundleError as error:
        raise ConfigError(f"{word_map}: {error}") from None
