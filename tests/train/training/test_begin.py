"""fit --from: a checkpoint or a bundle, its words kept and the data's new ones added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from framecap.config import TrainConfig
from framecap.errors import ConfigError
from tests.tiny import make_data_set
from tests.train.synthetic import make_folder
from train.__main__ import main
from train.data.dataset import DataFolder
from train.training.begin import grown, load_start, settings_of
from train.training.model import load_model

DEFAULTS = TrainConfig()
DATA = Vocabulary((PAD, "a", "purple", "ball", UNKNOWN, START, END))


def test_a_bundle_grows_by_the_new_words_and_loses_none(tiny_bundle: Path) -> None:
    model = load_start(tiny_bundle, DEFAULTS)
    found = grown(model, DATA, dropout=0.0)
    words = found.model.vocabulary.words
    assert (words[:-1], words[-1]) == (model.vocabulary.words, "purple")
    assert (found.added, found.unused) == (1, len(words) - len(DATA))
    features = torch.randn(2, 9, model.decoder.shape.features)
    captions = torch.tensor([[[model.vocabulary.start, model.vocabulary.number("ball")]]] * 2)
    with torch.no_grad():
        before = model.decoder.logits(model.decoder(features, captions)[0])
        after = found.model.decoder.logits(found.model.decoder(features, captions)[0])
    torch.testing.assert_close(after[..., :-1], before)
    assert grown(model, model.vocabulary, dropout=0.0).model is model


def test_the_architecture_is_the_bundles_unless_another_one_is_named(tiny_bundle: Path) -> None:
    model = load_start(tiny_bundle, DEFAULTS)
    assert settings_of(model, DEFAULTS).hidden == model.decoder.shape.hidden != DEFAULTS.hidden
    with pytest.raises(ConfigError, match=r"train.hidden is 32 but 24"):
        load_start(tiny_bundle, DEFAULTS.model_copy(update={"hidden": 32}))


def test_captions_are_spelled_with_the_words_of_the_start(tmp_path: Path) -> None:
    """What is too rare for the folder's word map is no <unk> where the model knows it."""
    folder = make_folder(tmp_path)
    words = folder.word_map.words
    rare = Vocabulary(tuple(word for word in words if word != "floor"))
    (tmp_path / "data" / f"WORDMAP_{folder.base}.json").write_text(rare.to_json())
    numbers = {number: rare.number(word) for number, word in enumerate(words)}
    for split in ("TRAIN", "VAL", "TEST"):
        path = tmp_path / "data" / f"{split}_CAPTIONS_{folder.base}.json"
        path.write_text(str(np.vectorize(numbers.get)(np.array(json.loads(path.read_text()))).tolist()))
    before = DataFolder(tmp_path / "data")
    after = before.with_words(Vocabulary((*reversed(words),)))
    split, other = before.split("TRAIN"), after.split("TRAIN")
    spelled = [
        after.vocabulary.decode(caption[1 : length - 1])
        for captions, lengths in zip(other.captions, other.lengths, strict=True)
        for caption, length in zip(captions, lengths, strict=True)
    ]
    assert any("floor" in caption for caption in spelled)
    assert not any(UNKNOWN in caption for caption in spelled)
    assert (split.captions == before.vocabulary.number(UNKNOWN)).any()


def test_fit_begins_with_a_bundle(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    karpathy, images = make_data_set(tmp_path / "source", 24)
    flags = ("--size", 64, "--minimum-word-frequency", 2, "--karpathy", karpathy, "--images", images)
    assert main(["prepare", *map(str, flags), "--out", str(tmp_path / "data")]) == 0
    run = ("--data", tmp_path / "data", "--from", tiny_bundle, "--out", tmp_path / "run", "--epochs", 1, "--workers", 0)
    assert main(["fit", *map(str, run)]) == 0
    output = capsys.readouterr().out
    assert "words, 3 of them new; 0 of its words are not in the data folder's word map" in output
    assert "judged by validation loss" in output
    best = load_model(tmp_path / "run" / "best.safetensors")
    assert {"lies", "floor", "on"} <= set(best.vocabulary.words)
    assert main(["reinforce", "--from", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--epochs", "1"]) == 0
