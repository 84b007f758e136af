"""Checkpoints: they hold everything, say what they are, and what does not fit is refused with the reason."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from framecap.errors import ConfigError, MissingError, StoreUnavailable
from tests.train.synthetic import CONFIG, plain_model
from train.data.dataset import DataFolder
from train.files import write_durably
from train.training.model import (
    Model,
    check_architecture,
    check_vocabulary,
    checkpoint_path,
    load_model,
    new_model,
    save_model,
)


@pytest.fixture
def model(folder: DataFolder) -> Model:
    return new_model(CONFIG.model_copy(update={"grid": 3}), folder.vocabulary, pretrained=False)


def test_a_checkpoint_is_the_whole_model(model: Model, tmp_path: Path) -> None:
    save_model(
        Model(model.encoder, model.decoder, model.vocabulary, {"run": {"command": "fit"}}), tmp_path / "a.safetensors"
    )
    read = load_model(tmp_path / "a.safetensors")
    assert read.vocabulary == model.vocabulary
    assert read.architecture() == model.architecture()
    assert read.about == {"run": {"command": "fit"}}
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(read.encoder(image), model.encoder(image))
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o077 == 0o044


def test_short_names_find_it(tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").touch()
    found = {checkpoint_path(name) for name in (tmp_path, tmp_path / "best", tmp_path / "best.safetensors")}
    assert found == {tmp_path / "best.safetensors"}
    with pytest.raises(ConfigError, match="no checkpoint there"):
        checkpoint_path(tmp_path / "worst")


def test_another_architecture_is_refused(model: Model, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"hidden": 64, "encoder": "resnet18"})
    with pytest.raises(
        ConfigError, match=r"train\.encoder is 'resnet18' but 'test_efficientnet' in the checkpoint; train\.hidden"
    ):
        check_architecture(model, config, tmp_path)
    check_architecture(model, CONFIG.model_copy(update={"grid": 3}), tmp_path)


def test_another_word_map_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are not the 5 of the data folder's word map"):
        check_vocabulary(model, Vocabulary((PAD, "dog", UNKNOWN, START, END)), tmp_path)
    check_vocabulary(model, model.vocabulary, tmp_path)


def test_what_is_no_checkpoint_is_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"

    def refused(match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            load_model(path)

    path.write_bytes(b"PK\x03\x04 a zip file")
    refused("not a whole checkpoint")
    weights = {name: value.contiguous() for name, value in model.weights().state_dict().items()}
    save_file(weights, path)
    refused("not a checkpoint of `python -m train fit`")
    header = {"format": 1, "architecture": {**model.architecture(), "hidden": 33}, "words": model.vocabulary.words}
    save_file(weights, path, {"framecap": json.dumps(header)})
    refused("a checkpoint of another architecture than its header says: size mismatch for decoder.decoder_attention.weight")
    header["architecture"] = {**model.architecture(), "encoder": "resnet1001"}
    save_file(weights, path, {"framecap": json.dumps(header)})
    refused("describes no model that this version knows")
    for key, wrong in (("words", 10**12), ("words", -1), ("size", 10**6), ("size", "a"), ("grid", -1), ("hidden", 1.5)):
        header["architecture"] = {**model.architecture(), key: wrong}
        save_file(weights, path, {"framecap": json.dumps(header)})
        refused(f"describes no model that this version knows: architecture.{key}")
    header["architecture"] = model.architecture()
    for about in ([1], {"run": 5}, {"run": {"data": {"held_out": "x"}}}):
        save_file(weights, path, {"framecap": json.dumps({**header, "about": about})})
        refused("describes no model that this version knows")
    save_file(weights, path, {"framecap": "[" * 100_000})
    refused("describes no model that this version knows")
    header["architecture"], header["words"] = model.architecture(), model.vocabulary.words[1:]
    save_file(weights, path, {"framecap": json.dumps(header)})
    refused("the special tokens <pad> are missing")
    save_model(model, path)
    path.write_bytes(path.read_bytes()[:-100])
    refused("not a whole checkpoint")


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """The operating system ends every write beyond this length with an error, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_in_mid_write_leaves_the_last_good_checkpoint(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_model(model, path)
    good = path.read_bytes()
    with no_file_longer_than(len(good) // 2), pytest.raises(StoreUnavailable, match="cannot be written"):
        save_model(model, path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        write_durably(tmp_path / "nowhere" / "file", b"")


def test_weights_that_cannot_be_downloaded_are_reported(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(MissingError, match=r"'resnet18': its pretrained weights cannot be had \(.*not known"):
        new_model(CONFIG.model_copy(update={"encoder": "resnet18"}), folder.vocabulary, pretrained=True)


def test_the_same_seed_makes_the_same_model(folder: DataFolder) -> None:
    first, second = (plain_model(CONFIG, folder).weights().state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
