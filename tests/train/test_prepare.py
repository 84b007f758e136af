"""The data folder: the seed's files with the seed's contents, and what is wrong with single photos."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from framecap.captioning.preprocess import Preprocessing, decode
from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN
from framecap.errors import ConfigError
from tests.tiny import make_data_set
from train.dataset import DataFolder
from train.prepare import Recipe, prepare

RECIPE = Recipe(dataset="tiny", size=64, captions_per_image=5, minimum_word_frequency=3)
BASE = "tiny_5_cap_per_img_3_min_word_freq"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_data_set(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def folder(source: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    assert prepare(RECIPE, *source, out) == []
    return out


def test_the_files_are_the_seeds(folder: Path) -> None:
    kinds = ("IMAGES", "CAPTIONS", "CAPLENS", "REFERENCES")
    expected = {f"{split}_{kind}_{BASE}" for split in ("TRAIN", "VAL", "TEST") for kind in kinds} | {f"WORDMAP_{BASE}"}
    assert {path.stem for path in folder.iterdir()} == expected


def test_pictures_are_what_the_worker_would_see(source: tuple[Path, Path], folder: Path) -> None:
    with h5py.File(folder / f"VAL_IMAGES_{BASE}.hdf5") as file:
        images = file["images"]
        assert (images.shape, images.dtype) == ((6, 3, 64, 64), np.uint8)
        assert file.attrs["captions_per_image"] == 5
        seen = decode((source[1] / "008.jpg").read_bytes(), Preprocessing(64), 10**6).pixels
        np.testing.assert_array_equal(images[1].transpose(1, 2, 0), seen)
    np.testing.assert_array_equal(DataFolder(folder).split("VAL").pictures(1, 2)[0], seen)


def test_captions_belong_to_their_photo_and_are_padded(source: tuple[Path, Path], folder: Path) -> None:
    captions = json.loads((folder / f"VAL_CAPTIONS_{BASE}.json").read_text())
    lengths = json.loads((folder / f"VAL_CAPLENS_{BASE}.json").read_text())
    words = DataFolder(folder).vocabulary.words
    entry = json.loads(source[0].read_text())["images"][8]
    for caption, length in list(zip(captions, lengths, strict=True))[5:10]:
        said = [words[number] for number in caption]
        assert said[0] == START
        assert said[length - 1] == END
        assert set(said[length:]) == {PAD}
        assert said[1 : length - 1] in [sentence["tokens"] for sentence in entry["sentences"]]


def test_restval_trains_and_only_train_makes_the_vocabulary(source: tuple[Path, Path], tmp_path: Path) -> None:
    document = json.loads(source[0].read_text())
    for entry in document["images"]:
        if entry["split"] in ("val", "test"):
            entry["sentences"] = [{"tokens": ["unseen", "word"], "raw": "Unseen word."}] * 5
    karpathy = tmp_path / "dataset.json"
    karpathy.write_text(json.dumps(document))
    prepare(RECIPE, karpathy, source[1], tmp_path / "data")
    data = DataFolder(tmp_path / "data")
    assert "unseen" not in data.vocabulary.words
    assert len(data.split("TRAIN")) == 36
    assert data.vocabulary.number(UNKNOWN) in data.split("VAL").captions
    assert data.split("VAL").references[0][0] == ["unseen", "word"]


def test_broken_and_missing_photos_are_named_and_left_out(tmp_path: Path) -> None:
    karpathy, images = make_data_set(tmp_path / "source")
    (images / "003.jpg").unlink()
    (images / "004.jpg").write_bytes((images / "004.jpg").read_bytes()[:500])
    problems = prepare(RECIPE, karpathy, images, tmp_path / "data")
    assert [Path(problem.partition(":")[0]).name for problem in problems] == ["003.jpg", "004.jpg"]
    assert len(DataFolder(tmp_path / "data").split("TRAIN")) == 34


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[]", "not Karpathy's layout"),
        ("{", "not Karpathy's layout"),
        ('{"images": [{"filename": "a.jpg", "split": "tain", "sentences": []}]}', "'tain' is none of"),
        ('{"images": [{"filename": "../a.jpg", "split": "train", "sentences": []}]}', "leaves the folder"),
        ('{"images": []}', "the train split is empty"),
    ],
)
def test_a_foreign_json_is_refused(tmp_path: Path, document: str, said: str) -> None:
    (tmp_path / "dataset.json").write_text(document)
    with pytest.raises(ConfigError, match=said):
        prepare(RECIPE, tmp_path / "dataset.json", tmp_path, tmp_path / "data")


def test_an_interrupted_run_leaves_nothing_under_a_final_name(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.prepare._load", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(RECIPE, *source, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.faults(34)
def test_a_truncated_hdf5_is_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    images = tmp_path / f"VAL_IMAGES_{BASE}.hdf5"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"VAL_IMAGES.*not a whole HDF5 file"):
        DataFolder(tmp_path).split("VAL")


def test_files_of_different_runs_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    lengths = tmp_path / f"VAL_CAPLENS_{BASE}.json"
    lengths.write_text(json.dumps(json.loads(lengths.read_text())[:-1]))
    with pytest.raises(ConfigError, match="not of one run of prepare"):
        DataFolder(tmp_path).split("VAL")
    with pytest.raises(ConfigError, match="no WORDMAP"):
        DataFolder(tmp_path / "nowhere")
