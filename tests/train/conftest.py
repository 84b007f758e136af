"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.train.synthetic import make_folder, plain_material
from train.data.batches import TrainingData
from train.data.dataset import DataFolder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """A data folder of coloured balls and boxes: 36 photos to train on, 6 of val, 6 of test."""
    return make_folder(tmp_path_factory.mktemp("tiny_data"))


@pytest.fixture(scope="session")
def material(folder: DataFolder) -> TrainingData:
    """Features that show plainly what is to be said: what is tested is the training."""
    return plain_material(folder)


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing by several threads, and lose much where tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
