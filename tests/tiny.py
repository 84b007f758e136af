"""Small real things for tests of the model: a made-up captioned data set, and a bundle with random weights."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 210), "white": (240, 240, 240)}  # RGB
SHAPES = ("ball", "box")
SIZE = 64  # pixels


def draw_image(colour: str, shape: str, seed: int = 0) -> np.ndarray:
    """A coloured ball or box somewhere on grey noise, (SIZE, SIZE, 3) RGB."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(90, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    x, y = (int(value) for value in generator.integers(20, 44, 2))
    if shape == "ball":
        cv2.circle(pixels, (x, y), 16, COLOURS[colour], -1)
    else:
        cv2.rectangle(pixels, (x - 15, y - 15), (x + 15, y + 15), COLOURS[colour], -1)
    return pixels


def make_data_set(folder: Path, photos: int = 48) -> tuple[Path, Path]:
    """A Karpathy JSON and its photos: five captions each, splits train, restval, val and test."""
    images = folder / "images"
    images.mkdir(parents=True)
    entries = []
    choose = random.Random(1)
    for number in range(photos):
        colour, shape = choose.choice(list(COLOURS)), choose.choice(SHAPES)
        name = f"{number:03}.jpg"
        bgr = cv2.cvtColor(draw_image(colour, shape, number), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(images / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        captions = [
            f"a {colour} {shape}",
            f"the {shape} is {colour}",
            f"a {colour} {shape} lies there",
            f"there is a {colour} {shape} on the floor",
            f"a {shape}",
        ]
        sentences = [{"tokens": caption.split(), "raw": f"{caption}."} for caption in captions]
        split = {0: "val", 1: "test", 2: "restval"}.get(number % 8, "train")
        entries.append({"filename": name, "split": split, "sentences": sentences})
    karpathy = folder / "dataset_tiny.json"
    karpathy.write_text(json.dumps({"dataset": "tiny", "images": entries}))
    return karpathy, images


def make_bundle(out: Path, mean: Sequence[float] = (127.0,) * 3, std: Sequence[float] = (128.0,) * 3) -> Path:
    """A bundle with random weights that takes images of SIZE pixels; `mean` and `std` of their values."""
    import torch

    from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
    from framecap.captioning.model.encoder import Encoder
    from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
    from train.export.bundle import export

    torch.manual_seed(1)
    words = ("a", "the", "ball", "box", "is", "there", *COLOURS)
    vocabulary = Vocabulary((PAD, *words, UNKNOWN, START, END))
    encoder = Encoder("efficientnet_lite0", SIZE, grid=3).eval()
    encoder.normalise(mean, std)
    shape = DecoderShape(words=len(vocabulary), features=encoder.width, memory=16, embedding=8, hidden=24, attention=16)
    decoder = AttentionDecoder(shape).eval()
    with torch.no_grad():
        decoder.project.weight.mul_(100)  # a random encoder's features hardly differ from image to image
        decoder.output.weight.mul_(15)
        decoder.output.bias[vocabulary.end] = 2.0
    export(out, "tiny", encoder, decoder, vocabulary, {})
    return out


def with_exact_graphs(bundle: Path, out: Path) -> Path:
    """A bundle's weights with graphs that use them as they are, whatever its own graphs do."""
    import torch
    from safetensors.torch import load_file

    from framecap.captioning.bundle import WEIGHTS, open_bundle
    from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
    from framecap.captioning.model.encoder import Encoder
    from train.export.bundle import export

    opened = open_bundle(str(bundle))
    card = opened.card
    encoder = Encoder(card.encoder.name, card.preprocessing.size, card.encoder.grid).eval()
    encoder.normalise(card.preprocessing.mean, card.preprocessing.std)
    decoder = AttentionDecoder(DecoderShape(**card.decoder.model_dump(exclude={"kind"}))).eval()
    weights = {name: value.float() for name, value in load_file(opened.path / WEIGHTS).items()}
    torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder}).load_state_dict(weights, strict=False)
    return export(out, card.name, encoder, decoder, opened.vocabulary, {}).path
