"""Data folders, ours and the seed's, read by several processes; files that are torn or do not belong together."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from framecap.errors import ConfigError
from tests.tiny import make_data_set
from tests.train.synthetic import FLAGS
from train.__main__ import main
from train.data.dataset import DataFolder
from train.data.image_file import ImageFile
from train.data.prepare import Recipe, prepare

BASE = "coco_3_cap_per_img_2_min_word_freq"


def make_seed_folder(karpathy: Path, images: Path, out: Path, size: int = 48, captions: int = 3) -> Path:
    """What the seed's create_input_files.py makes: BGR images, the words of all splits, one file of each kind a split."""
    entries = json.loads(karpathy.read_text())["images"]
    words = sorted({word for entry in entries for sentence in entry["sentences"] for word in sentence["tokens"]})
    word_map = {word: number + 1 for number, word in enumerate(words)}
    word_map |= {"<unk>": len(word_map) + 1, "<start>": len(word_map) + 2, "<end>": len(word_map) + 3, "<pad>": 0}
    out.mkdir()
    (out / f"WORDMAP_{BASE}.json").write_text(json.dumps(word_map))
    choose = random.Random(3)
    for split, names in {"TRAIN": ("train", "restval"), "VAL": ("val",), "TEST": ("test",)}.items():
        chosen = [entry for entry in entries if entry["split"] in names]
        encoded, lengths = [], []
        with h5py.File(out / f"{split}_IMAGES_{BASE}.hdf5", "a") as file:
            file.attrs["captions_per_image"] = captions
            image_files = file.create_dataset("images", (len(chosen), 3, size, size), dtype="uint8")
            for number, entry in enumerate(chosen):
                image = cv2.resize(cv2.imread(str(images / entry["filename"])), (size, size))
                image_files[number] = image.transpose(2, 0, 1)
                for sentence in choose.sample(entry["sentences"], captions):
                    tokens = sentence["tokens"]
                    numbers = [word_map[word] for word in tokens]
                    encoded.append([word_map["<start>"], *numbers, word_map["<end>"], *[0] * (100 - len(tokens))])
                    lengths.append(len(tokens) + 2)
        (out / f"{split}_CAPTIONS_{BASE}.json").write_text(json.dumps(encoded))
        (out / f"{split}_CAPLENS_{BASE}.json").write_text(json.dumps(lengths))
    return out


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_data_set(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def seeds(source: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_seed_folder(*source, tmp_path_factory.mktemp("seed") / "caption_data")


@pytest.fixture
def copy(seeds: Path, tmp_path: Path) -> Path:
    return shutil.copytree(seeds, tmp_path / "copy")


def rewrite(path: Path, change: Callable[[object], object]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_a_seeds_folder_is_read_unchanged(seeds: Path) -> None:
    """Other size, other number of captions, no references: those come from the captions, and are said not to be raw."""
    data = DataFolder(seeds)
    train = data.split("TRAIN")
    assert train.captions.shape[:2] == (36, 3)
    assert train.read_images(30, 99).shape == (6, 48, 48, 3)
    assert not train.raw
    assert train.part(slice(0, 2)).raw is False
    output = data.vocabulary.decode(train.captions[0, 0, 1 : train.lengths[0, 0] - 1])
    assert output in train.references[0]
    assert "<start>" not in output
    assert {len(captions) for captions in train.references} <= {1, 2, 3}


def test_a_seeds_folder_trains_unchanged(seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the folder to a bundle; scores need raw references, which it lacks: that is said."""
    before = {path.name: path.read_bytes() for path in seeds.iterdir() if path.is_file()}
    flags = [*FLAGS, "--size", 48, "--epochs", 1, "--random-encoder"]
    commands = (
        ["fit", "--data", seeds, "--out", tmp_path / "run", *flags],
        ["export", "--from", tmp_path / "run" / "best", "--out", tmp_path / "bundle"],
    )
    for command in commands:
        assert main([str(part) for part in command]) == 0
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())
    assert epoch["cider_d"] >= 0
    assert {path.name: path.read_bytes() for path in seeds.iterdir() if path.is_file()} == before
    assert main(["evaluate", "--bundle", str(tmp_path / "bundle"), "--data", str(seeds), "--split", "val"]) == 2
    assert "would not be comparable" in capsys.readouterr().err


@pytest.mark.faults(34)
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # more than this machine's cores
@pytest.mark.parametrize(("store", "starts"), [("pixels", ("fork", "spawn")), ("jpeg", ("fork",))])
def test_four_workers_by_fork_and_by_spawn_read_the_same(
    source: tuple[Path, Path], tmp_path: Path, store: str, starts: tuple[str, ...], figure: Callable[[str], None]
) -> None:
    prepare(Recipe(dataset="tiny", size=64, minimum_word_frequency=3, store=store), *source, tmp_path)
    file = DataFolder(tmp_path).split("TRAIN").file
    file[0]  # a handle is open when the workers are started

    def checksum(workers: int, start: str | None) -> str:
        loader = DataLoader(file, batch_size=5, num_workers=workers, multiprocessing_context=start)
        return hashlib.sha256(b"".join(batch.numpy().tobytes() for batch in loader)).hexdigest()

    sums = {checksum(0, None), *(checksum(4, start) for start in starts)}
    assert len(sums) == 1
    figure(f"{store}: 36 photos in this process and in 4 workers by {' and '.join(starts)}: checksum {sums.pop()[:12]}")


def test_no_handle_travels_or_outlives_a_fork(seeds: Path) -> None:
    import multiprocessing

    file = ImageFile(seeds / f"VAL_IMAGES_{BASE}.hdf5")
    expected = file[2]
    assert file._file is not None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(file))[2], expected)
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    assert file._file is None
    np.testing.assert_array_equal(file[2], expected)
    with pytest.raises(IndexError):
        file[6]


def test_chunked_and_compressed_images_read_too(copy: Path) -> None:
    """h5repack and other tools make such files."""
    path = copy / f"VAL_IMAGES_{BASE}.hdf5"
    before = ImageFile(path)[3]
    with h5py.File(path, "r+") as file:
        images = file["images"][:]
        del file["images"]
        file.create_dataset("images", data=images, chunks=(1, 3, 48, 48), compression="gzip")
    np.testing.assert_array_equal(ImageFile(path)[3], before)


@pytest.mark.faults(34)
@pytest.mark.parametrize("left", [0.999, 0.5, 0.0])
def test_a_truncated_hdf5_is_named(copy: Path, left: float) -> None:
    images = copy / f"VAL_IMAGES_{BASE}.hdf5"
    data = images.read_bytes()
    images.write_bytes(data[: int(left * len(data))])
    with pytest.raises(ConfigError, match=r"VAL_IMAGES.*not a whole HDF5 file.*copy it again"):
        DataFolder(copy).split("VAL")


def test_another_hdf5_file_is_refused(copy: Path) -> None:
    path = copy / f"VAL_IMAGES_{BASE}.hdf5"
    for name, shape, attribute in (("images", (6, 48, 48, 3), 3), ("x", (6, 3, 48, 48), 3), ("images", (6, 3, 48, 48), 0)):
        with h5py.File(path, "w") as file:
            file.create_dataset(name, shape, np.uint8)
            file.attrs["captions_per_image"] = attribute
        with pytest.raises(ConfigError, match="not a data folder's images"):
            DataFolder(copy).split("VAL")
    with h5py.File(path, "w") as file:
        file["images"] = h5py.SoftLink("/images")
        file.attrs["captions_per_image"] = 3
    with pytest.raises(ConfigError, match="not a data folder's images"):
        DataFolder(copy).split("VAL")
    for ends in (np.full(6, np.nan), np.zeros((6, 2), np.int64), np.array([b"a"] * 6)):
        with h5py.File(path, "w") as file:
            file.attrs["captions_per_image"], file.attrs["size"] = 3, 48
            file["jpegs"], file["ends"] = np.zeros(10, np.uint8), ends
        with pytest.raises(ConfigError, match=r"not a data folder's images.*ends \(6"):
            DataFolder(copy).split("VAL")


def test_the_word_map_of_another_data_set_is_refused(copy: Path) -> None:
    word_map = copy / f"WORDMAP_{BASE}.json"
    known = json.loads(word_map.read_text())
    fewer = [word for word, number in known.items() if 0 < number < 6]
    more = [*(word for word in known if word != "<pad>"), "zebra"]
    for words, output in (
        (fewer, r"the word map has 9 words: it is of another data set"),
        (more, "<start> is .* in the word map"),
    ):
        plain = [word for word in words if not word.startswith("<")]
        numbered = {"<pad>": 0} | {word: number for number, word in enumerate([*plain, "<unk>", "<start>", "<end>"], 1)}
        word_map.write_text(json.dumps(numbered))
        with pytest.raises(ConfigError, match=output):
            DataFolder(copy).split("VAL")
    word_map.write_text('{"a": 3}')
    with pytest.raises(ConfigError, match=r"WORDMAP_coco.*: word map: its numbers must be"):
        DataFolder(copy).split("VAL")


@pytest.mark.parametrize(
    ("kind", "change", "output"),
    [
        ("CAPLENS", lambda lengths: lengths[:-1], "not of one run of prepare"),
        ("CAPLENS", lambda lengths: [103, *lengths[1:]], "lengths that the captions do not have"),
        ("CAPLENS", lambda lengths: [lengths[0] + 1, *lengths[1:]], "<end> is .* in the word map, but not in the captions"),
        ("CAPLENS", lambda lengths: [lengths], "not 1 levels of lists of numbers"),
        ("CAPTIONS", lambda captions: [captions[0][:-1], *captions[1:]], "not lists of word numbers"),
        ("CAPTIONS", lambda captions: [[-1, *captions[0][1:]], *captions[1:]], "it is of another data set"),
    ],
)
def test_captions_that_do_not_fit_are_refused(
    copy: Path, kind: str, change: Callable[[object], object], output: str
) -> None:
    rewrite(copy / f"VAL_{kind}_{BASE}.json", change)
    with pytest.raises(ConfigError, match=output):
        DataFolder(copy).split("VAL")


def test_references_of_another_run_are_refused(copy: Path) -> None:
    (copy / f"VAL_REFERENCES_{BASE}.json").write_text("[[]]")
    with pytest.raises(ConfigError, match=r"VAL_REFERENCES_.* has 1 photos, VAL_IMAGES 6"):
        DataFolder(copy).split("VAL")


@pytest.mark.parametrize("found", [None, 5, [], "a ball", ["a ball"], [[]], [[1, 2]], {"a": ["ball"]}])
def test_references_that_are_no_words_are_refused(copy: Path, found: object) -> None:
    (copy / f"VAL_REFERENCES_{BASE}.json").write_text(json.dumps([[["a", "ball"]]] * 5 + [found]))
    with pytest.raises(ConfigError, match=r"VAL_REFERENCES_.*\.json: not captions, which are lists of words"):
        DataFolder(copy).split("VAL")


def test_a_missing_split_or_file_is_named(copy: Path) -> None:
    (copy / f"VAL_IMAGES_{BASE}.hdf5").unlink()
    with pytest.raises(ConfigError, match="the data set has no split 'val', only train, test"):
        DataFolder(copy).split("VAL")
    (copy / f"TEST_CAPLENS_{BASE}.json").unlink()
    with pytest.raises(ConfigError, match=r"TEST_CAPLENS_.*\.json: missing: copy it"):
        DataFolder(copy).split("TEST")
    for truncated in ("[[1, 2", "[" * 100_000):
        (copy / f"TRAIN_CAPTIONS_{BASE}.json").write_text(truncated)
        with pytest.raises(ConfigError, match="not JSON"):
            DataFolder(copy).split("TRAIN")


def test_a_wrong_folder_is_reported_with_what_to_do(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        DataFolder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"make the data folder with .* \(perhaps you mean .*copy\)"):
        DataFolder(tmp_path)
    (copy / "WORDMAP_flickr8k.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"2 data sets \(WORDMAP_coco.*, WORDMAP_flickr8k.json\): move all but one"):
        DataFolder(copy)
