"""The data folder: the seed's files with the seed's contents, and what is wrong with photos, folders and disks."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import ConfigError, StoreUnavailable
from tests.tiny import make_data_set
from tests.train.training.test_model import no_file_longer_than
from train.__main__ import main
from train.data.dataset import DataFolder
from train.data.prepare import Recipe, prepare

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


def test_the_files_are_the_seeds_and_three_more(folder: Path) -> None:
    image_files = {f"{split}_IMAGES_{BASE}.hdf5" for split in ("TRAIN", "VAL", "TEST")}
    kinds = ("CAPTIONS", "CAPLENS", "REFERENCES", "IDS")
    captions = {f"{split}_{kind}_{BASE}.json" for split in ("TRAIN", "VAL", "TEST") for kind in kinds}
    assert {path.name for path in folder.iterdir()} == image_files | captions | {f"WORDMAP_{BASE}.json"}


def test_images_are_what_the_worker_would_see(source: tuple[Path, Path], folder: Path) -> None:
    with h5py.File(folder / f"VAL_IMAGES_{BASE}.hdf5") as file:
        images = file["images"]
        assert list(file) == ["images"]
        assert (images.shape, images.dtype, images.chunks) == ((6, 3, 64, 64), np.uint8, None)
        assert dict(file.attrs) == {"captions_per_image": 5}
        seen = decode((source[1] / "008.jpg").read_bytes(), Preprocessing(64), 10**6).pixels
        np.testing.assert_array_equal(images[1].transpose(1, 2, 0), seen)
    np.testing.assert_array_equal(DataFolder(folder).split("VAL").read_images(1, 2)[0], seen)


def test_captions_belong_to_their_photo_and_are_padded(source: tuple[Path, Path], folder: Path) -> None:
    captions = json.loads((folder / f"VAL_CAPTIONS_{BASE}.json").read_text())
    lengths = json.loads((folder / f"VAL_CAPLENS_{BASE}.json").read_text())
    words = DataFolder(folder).vocabulary.words
    entry = json.loads(source[0].read_text())["images"][8]
    assert {len(caption) for caption in captions} == {102}
    for caption, length in list(zip(captions, lengths, strict=True))[5:10]:
        output = [words[number] for number in caption]
        assert output[0] == START
        assert output[length - 1] == END
        assert set(output[length:]) == {PAD}
        assert output[1 : length - 1] in [sentence["tokens"] for sentence in entry["sentences"]]


def changed(source: tuple[Path, Path], to: Path, **splits: object) -> Path:
    """The data set's JSON with other sentences for some splits."""
    document = json.loads(source[0].read_text())
    for entry in document["images"]:
        if entry["split"] in splits:
            entry["sentences"] = splits[entry["split"]]
    to.write_text(json.dumps(document))
    return to


UNSEEN = [{"tokens": ["unseen", "word"], "raw": "Unseen word."}] * 5


def test_restval_trains_and_only_train_makes_the_vocabulary(source: tuple[Path, Path], tmp_path: Path) -> None:
    karpathy = changed(source, tmp_path / "dataset.json", val=UNSEEN, test=UNSEEN)
    prepare(RECIPE, karpathy, source[1], tmp_path / "data")
    data = DataFolder(tmp_path / "data")
    assert "unseen" not in data.vocabulary.words
    assert len(data.split("TRAIN")) == 36
    assert data.vocabulary.number(UNKNOWN) in data.split("VAL").captions
    assert data.split("VAL").references[0][0] == ["unseen", "word"]


def test_the_seeds_way_counts_the_words_of_all_splits(source: tuple[Path, Path], tmp_path: Path) -> None:
    karpathy = changed(source, tmp_path / "dataset.json", val=UNSEEN)
    arguments = ["--karpathy", str(karpathy), "--images", str(source[1]), "--out", str(tmp_path / "data"), "--size", "32"]
    assert main(["prepare", *arguments, "--vocabulary-splits", "all"]) == 0
    assert "unseen" in DataFolder(tmp_path / "data").vocabulary.words


def test_photos_with_few_or_too_long_captions(source: tuple[Path, Path], tmp_path: Path) -> None:
    """As in the seed: short of captions, some are taken twice; longer ones than 100 words are skipped, photos too."""
    few = [{"tokens": ["a", "ball"]}, {"tokens": ["a"] * 101}]
    karpathy = changed(source, tmp_path / "dataset.json", val=few, test=few[1:], train=[{"tokens": ["a", "ball"]}] * 7)
    prepare(RECIPE, karpathy, source[1], tmp_path / "data")
    data = DataFolder(tmp_path / "data")
    val = data.split("VAL")
    assert Counter(val.lengths.flat) == {4: 5 * len(val)}
    assert val.references[0] == [["a", "ball"], ["a"] * 101]
    with pytest.raises(ConfigError, match="no split 'test', only train, val"):
        data.split("TEST")


def test_ids_are_karpathys_own(source: tuple[Path, Path], tmp_path: Path) -> None:
    document = json.loads(source[0].read_text())
    for number, entry in enumerate(document["images"]):
        entry |= {"imgid": number, "cocoid": 391895 + number}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    prepare(RECIPE, tmp_path / "dataset.json", source[1], tmp_path / "data")
    ids = json.loads((tmp_path / "data" / f"VAL_IDS_{BASE}.json").read_text())
    assert ids == [391895 + number for number in range(0, 48, 8)]


def test_cocos_folders_are_found(source: tuple[Path, Path], tmp_path: Path) -> None:
    document = json.loads(source[0].read_text())
    for entry in document["images"]:
        entry["filepath"] = "val2014" if entry["split"] == "val" else "train2014"
        address = tmp_path / "mscoco" / entry["filepath"] / entry["filename"]
        address.parent.mkdir(parents=True, exist_ok=True)
        address.write_bytes((source[1] / entry["filename"]).read_bytes())
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    assert prepare(RECIPE, tmp_path / "dataset.json", tmp_path / "mscoco", tmp_path / "data") == []
    with pytest.raises(ConfigError, match=r"000\.jpg: not there, nor are 47 other photos .* train2014 and val2014"):
        prepare(RECIPE, tmp_path / "dataset.json", tmp_path / "mscoco" / "train2014", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_broken_and_missing_photos_are_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    karpathy, images = make_data_set(tmp_path / "source")
    (images / "003.jpg").unlink()
    (images / "004.jpg").write_bytes((images / "004.jpg").read_bytes()[:500])
    (images / "006.jpg").unlink()
    os.mkfifo(images / "006.jpg")  # reading it would wait for ever
    problems = prepare(RECIPE, karpathy, images, tmp_path / "data")
    assert [Path(problem.partition(":")[0]).name for problem in problems] == ["003.jpg", "004.jpg", "006.jpg"]
    train = DataFolder(tmp_path / "data").split("TRAIN")
    assert len(train) == 33
    seen = decode((images / "005.jpg").read_bytes(), Preprocessing(64), 10**6).pixels
    np.testing.assert_array_equal(train.read_images(1, 2)[0], seen)  # of 0 to 7, 0 is val, 1 is test, 3 and 4 are skipped
    arguments = ["--karpathy", str(karpathy), "--images", str(images), "--out", str(tmp_path / "data"), "--dataset", "tiny"]
    assert main(["prepare", *arguments, "--minimum-word-frequency", "3"]) == 0
    output = capsys.readouterr()
    assert f"skipped: {images / '003.jpg'}: No such file or directory" in output.err
    assert "ready, 45 photos, 3 skipped" in output.out
    assert (
        "004.jpg: the image breaks off in its header, after 500 bytes"
        in (tmp_path / "data" / f"LEFT_OUT_{BASE}.txt").read_text()
    )


def test_a_split_without_one_whole_photo_is_an_error(tmp_path: Path) -> None:
    karpathy, images = make_data_set(tmp_path / "source")
    for number in range(0, 48, 8):
        (images / f"{number:03}.jpg").unlink()
    with pytest.raises(ConfigError, match=r"VAL_IMAGES.*none of its photos can be used; the first: .*000\.jpg"):
        prepare(RECIPE, karpathy, images, tmp_path / "data")


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ("[]", "not Karpathy's layout"),
        ("{", "not Karpathy's layout"),
        ('{"images": [{"filename": "a.jpg", "split": "tain", "sentences": []}]}', "'tain' is none of"),
        ('{"images": [{"filename": "../a.jpg", "split": "train", "sentences": []}]}', "leaves the folder"),
        ('{"images": [{"filename": "/etc/a.jpg", "split": "train", "sentences": []}]}', "leaves the folder"),
        ('{"images": [{"filename": "a\\u0000.jpg", "split": "train", "sentences": []}]}', "no file name can have"),
        ('{"images": [{"filename": "a\\ud800.jpg", "split": "train", "sentences": []}]}', "no file name can have"),
        ('{"images": [{"filename": "a.jpg", "split": "train", "sentences": []}]}', "no caption with words"),
        ('{"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"tokens": []}]}]}', "no caption with words"),
        ('{"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"tokens": "a dog"}]}]}', "a list of words"),
        ("[" * 100_000, "nested too deeply"),
        ('{"images": []}', "the train split is empty"),
    ],
)
def test_a_foreign_json_is_refused(tmp_path: Path, document: str, output: str) -> None:
    (tmp_path / "dataset.json").write_text(document)
    with pytest.raises(ConfigError, match=output):
        prepare(RECIPE, tmp_path / "dataset.json", tmp_path, tmp_path / "data")


def test_wrong_numbers_and_names_are_refused(source: tuple[Path, Path], tmp_path: Path) -> None:
    for wrong in ({"size": 5}, {"captions_per_image": 0}, {"captions_per_image": 10**9}, {"minimum_word_frequency": 0}):
        with pytest.raises(ConfigError, match="must be 1"):
            Recipe(dataset="x", **wrong)
    with pytest.raises(ConfigError, match="its name stands in file names"):
        Recipe(dataset="../x")
    with pytest.raises(ConfigError, match="no word stands in the captions 1000 times"):
        prepare(Recipe(dataset="x", minimum_word_frequency=1000), *source, tmp_path / "data")
    with pytest.raises(ConfigError, match=r"cannot be read .* name Karpathy's JSON"):
        prepare(RECIPE, tmp_path / "none.json", tmp_path, tmp_path / "data")


def test_an_address_where_no_folder_can_be_is_reported(source: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/data")):
        with pytest.raises(ConfigError, match=f"{out}: no folder can be made there"):
            prepare(RECIPE, *source, out)


def test_names_of_photos_that_are_skipped_stay_in_their_line(
    source: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name breaks the list, moves the terminal's cursor, or ends the run: too long ones and undecodable ones neither."""
    document = json.loads(source[0].read_text())
    names = ("a\nb\x1b[31m.jpg", "caf\udce9.jpg", "x" * 5000)
    for entry, name in zip(document["images"], names, strict=False):
        entry["filename"] = name
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    arguments = ("--karpathy", tmp_path / "dataset.json", "--images", source[1], "--out", tmp_path / "data", "--size", "32")
    assert main(["prepare", *map(str, arguments)]) == 0
    output = capsys.readouterr().err
    lines = (tmp_path / "data" / "LEFT_OUT_coco_5_cap_per_img_5_min_word_freq.txt").read_text().splitlines()
    assert len(lines) == 3
    assert f"skipped: {source[1]}/a\\nb\\x1b[31m.jpg: No such file or directory\n" in output
    assert f"{source[1]}/caf\\udce9.jpg: No such file or directory" in lines
    assert "\x1b[31m" not in output


def test_without_karpathy_the_command_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--images", str(tmp_path), "--out", str(tmp_path / "data")]) == 2
    assert "--karpathy is missing: name Karpathy's JSON, or take --dataset own" in capsys.readouterr().err


def test_jpegs_take_a_tenth_of_the_space_and_read_alike(source: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    prepare(Recipe(dataset="tiny", size=64, minimum_word_frequency=3, store="jpeg"), *source, tmp_path)
    pixels, jpegs = (DataFolder(address).split("TRAIN") for address in (folder, tmp_path))
    assert jpegs.images.stat().st_size < pixels.images.stat().st_size / 9
    a, b = (split.read_images(0, 36).astype(int) for split in (pixels, jpegs))
    assert abs(a - b).mean() < 6  # of noise, which the images are full of
    np.testing.assert_array_equal(pixels.captions, jpegs.captions)


def test_a_finished_data_set_is_replaced_by_another_run(source: tuple[Path, Path], tmp_path: Path) -> None:
    prepare(RECIPE, *source, tmp_path)
    prepare(Recipe(dataset="tiny", size=32, captions_per_image=5, minimum_word_frequency=3), *source, tmp_path)
    assert DataFolder(tmp_path).split("VAL").read_images(0, 1).shape == (1, 32, 32, 3)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_runs_in_one_folder_do_not_mix(source: tuple[Path, Path], tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another `python -m train prepare` is at work there"):
            prepare(RECIPE, *source, tmp_path)
    finally:
        os.close(descriptor)


def test_too_small_a_disk_is_reported_before_the_work(
    source: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.data.prepare.free_bytes", lambda _: 1000)
    with pytest.raises(StoreUnavailable, match=r"need 0\.0 GB.*or take --store jpeg"):
        prepare(RECIPE, *source, tmp_path)


def test_a_disk_too_full_for_a_line_is_reported(source: tuple[Path, Path], tmp_path: Path) -> None:
    with no_file_longer_than(10), pytest.raises(StoreUnavailable, match=r"TRAIN_IMAGES.*cannot be written \(File too large"):
        prepare(RECIPE, *source, tmp_path)
    assert prepare(RECIPE, *source, tmp_path) == []


def with_limit(limit: int, karpathy: Path, images: Path, out: Path, store: str) -> None:
    """In a process of its own: a disk that takes no file longer than `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    arguments = ("--karpathy", karpathy, "--images", images, "--out", out, "--dataset", "tiny", "--size", "64")
    more = ("--minimum-word-frequency", "3", "--store", store)
    os._exit(main(["prepare", *map(str, arguments + more)]))


@pytest.mark.parametrize(("limit", "store"), [(100_000, "pixels"), (50_000, "jpeg"), (2000, "jpeg")])
def test_a_disk_full_in_mid_write_leaves_nothing_truncated(
    source: tuple[Path, Path], folder: Path, tmp_path: Path, limit: int, store: str
) -> None:
    """Among the images, in the captions, in the first bytes; with room again, the same command ends well."""
    for attempt, allowed in enumerate((limit, resource.RLIM_INFINITY)):
        process = multiprocessing.get_context("spawn").Process(target=with_limit, args=(allowed, *source, tmp_path, store))
        process.start()
        process.join()
        assert process.exitcode == (1 if attempt == 0 else 0)
        if attempt == 0:
            assert not (tmp_path / f"WORDMAP_{BASE}.json").exists()
            with pytest.raises(ConfigError, match="prepare was stopped here"):
                DataFolder(tmp_path)
            for file in tmp_path.glob("[!.]*.json"):
                json.loads(file.read_bytes())
            for file in tmp_path.glob("[!.]*.hdf5"):
                h5py.File(file).close()
    found, expected = (DataFolder(address).split("TRAIN") for address in (tmp_path, folder))
    assert (len(found), found.references) == (len(expected), expected.references)
    assert not list(tmp_path.glob(".*"))
