"""Small real things for the tests of training: a data folder, features that show plainly what is to be said, tiny models."""

from __future__ import annotations

import socket
from pathlib import Path

import torch

from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import Encoder
from framecap.config import TrainConfig
from tests.tiny import make_data_set
from train.data.batches import PhotoSet, TrainingData
from train.data.dataset import DataFolder, Split
from train.data.features import Features
from train.data.prepare import Recipe, prepare
from train.training.distributed import Processes
from train.training.model import Model

HERE = Processes(torch.device("cpu"))
ENCODER = "test_efficientnet"  # timm's smallest
SIZE = 64  # pixels
WIDTH = 12  # of the made-up features
CONFIG = TrainConfig(
    encoder=ENCODER,
    size=SIZE,
    embedding=16,
    hidden=32,
    attention=16,
    memory=16,
    dropout=0.0,
    batch_size=40,
    epochs=2,
    amp="fp32",
    workers=0,
    seed=3,
)
FLAGS = [
    *("--encoder", ENCODER, "--size", SIZE, "--embedding", 16, "--hidden", 32, "--attention", 16, "--memory", 16),
    *("--dropout", 0, "--batch-size", 40, "--epochs", 2, "--amp", "fp32", "--workers", 0, "--seed", 3),
]  # the same


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_folder(path: Path, photos: int = 48) -> DataFolder:
    """A data folder of coloured balls and boxes."""
    karpathy, images = make_data_set(path / "source", photos)
    prepare(Recipe(dataset="tiny", size=SIZE, minimum_word_frequency=3), karpathy, images, path / "data")
    return DataFolder(path / "data")


def plain_material(folder: DataFolder) -> TrainingData:
    """Features that show the colour and the shape plainly, and nothing of where they are."""
    generator = torch.Generator().manual_seed(1)
    meaning = {word: torch.randn(WIDTH, generator=generator) for word in folder.vocabulary.words}

    def photos(split: Split) -> PhotoSet:
        described = [meaning[captions[0][1]] + meaning[captions[0][2]] for captions in split.references]
        features: Features = torch.stack(described)[:, None, None].repeat(1, 2, 4, 1).half().numpy()
        return PhotoSet(split, features)

    return TrainingData(photos(folder.split("TRAIN")), photos(folder.split("VAL")), folder.vocabulary)


def plain_model(config: TrainConfig, folder: DataFolder) -> Model:
    """A decoder for the features of `plain_material`; its encoder is only carried along."""
    torch.manual_seed(config.seed)
    shape = DecoderShape(
        words=len(folder.vocabulary),
        features=WIDTH,
        memory=config.memory,
        embedding=config.embedding,
        hidden=config.hidden,
        attention=config.attention,
    )
    encoder = Encoder(config.encoder, config.size, config.grid).eval()
    return Model(encoder, AttentionDecoder(shape, config.dropout), folder.vocabulary, {})
