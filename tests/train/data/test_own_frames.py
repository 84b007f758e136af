"""A person's own captioned frames: text files beside them, and what becomes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from framecap.errors import ConfigError
from tests.tiny import make_data_set
from train.__main__ import main
from train.data.dataset import DataFolder
from train.data.own_frames import read_own_frames


def make_frames(folder: Path) -> Path:
    """Two cameras with twenty frames each; sidecars of a worker beside some, which are not captions to learn."""
    karpathy, images = make_data_set(folder / "source", 40)
    frames = folder / "frames"
    for number, entry in enumerate(json.loads(karpathy.read_text())["images"]):
        address = frames / ("gate" if number < 20 else "yard") / entry["filename"]
        address.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / entry["filename"], address)
        text = "\n".join(sentence["raw"].capitalize() for sentence in entry["sentences"])
        address.with_name(f"{address.name}.txt").write_text(f"{text}\n\n")
        address.with_name(f"{address.name}.json").write_text("{}")
    (frames / "notes.txt").write_text("not a frame's")
    (frames / "gate" / "gone.jpg.txt").write_text("a frame that was deleted")
    return frames


def test_frames_with_text_beside_them_train(tmp_path: Path) -> None:
    frames = make_frames(tmp_path)
    arguments = ["--images", str(frames), "--out", str(tmp_path / "data"), "--size", "32", "--minimum-word-frequency", "1"]
    assert main(["prepare", "--dataset", "own", *arguments]) == 0
    data = DataFolder(tmp_path / "data")
    assert [len(data.split(name)) for name in ("TRAIN", "VAL", "TEST")] == [32, 4, 4]
    assert set(data.split("VAL").references[0][2][-2:]) <= {"lies", "there"}


def test_the_last_frames_of_each_camera_are_kept_out(tmp_path: Path) -> None:
    photos = read_own_frames(make_frames(tmp_path))
    test = [photo.path.name for photo in photos if photo.split == "TEST"]
    assert test == ["018.jpg", "019.jpg", "038.jpg", "039.jpg"]


def test_words_are_as_in_karpathys_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.jpg.txt").write_text("A man's T-shirt, 2 dogs — café!\n  \nBlack-and-white.\n", encoding="utf-8")
    (photo,) = read_own_frames(tmp_path)
    assert photo.captions == (("a", "man's", "t-shirt", "2", "dogs", "café"), ("black-and-white",))


def test_what_cannot_be_used_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no frame has captions: write them, one a line, into a\.jpg\.txt"):
        read_own_frames(tmp_path)
    (tmp_path / "a.jpg").touch()
    for text, output in ((b" \n", "no caption in it"), (b"\xff\xfe", "not UTF-8"), (b"a " * 50_000, "larger than")):
        (tmp_path / "a.jpg.txt").write_bytes(text)
        with pytest.raises(ConfigError, match=output):
            read_own_frames(tmp_path)
    (tmp_path / "a.jpg.txt").unlink()
    (tmp_path / "a.jpg.txt").mkdir()
    with pytest.raises(ConfigError, match=r"a\.jpg\.txt: cannot be read \(Is a directory\)"):
        read_own_frames(tmp_path)
