"""Several data sets in one folder: what prepare writes, who is held out, how they are mixed, and scores for each."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from framecap.errors import ConfigError, MissingError
from tests.tiny import make_data_set
from tests.train.synthetic import CONFIG, FLAGS, HERE
from train.__main__ import main
from train.data.batches import Epoch, PhotoSet
from train.data.clip_captions import INVISIBLE, ClipFilter, chosen, consensus
from train.data.dataset import DataFolder
from train.data.held_out import held_out_rows, parse_held_out
from train.data.karpathy import Photo
from train.evaluation.java_scores import JavaScore

CLIPS = 12


def no_java(*_: object) -> JavaScore:
    raise MissingError("METEOR takes seconds to start: its own test starts it")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """The balls and boxes twice: as photos, and as the frames of clips with two frames each."""
    path = tmp_path_factory.mktemp("mixed")
    photos, images = make_data_set(path / "photos", 48)
    frames, frame_images = make_data_set(path / "frames", 2 * CLIPS)
    document = json.loads(frames.read_text())
    for number, entry in enumerate(document["images"]):
        entry.update(video=number // 2, split="val" if number < 4 else "train", clean=number != 5)
        entry["sentences"].append({"tokens": ["people", "are", "talking", "about", "a", "box"]})
    frames.write_text(json.dumps({**document, "dataset": "clips"}))
    sets = ("--karpathy", photos, "--images", images, "--karpathy", frames, "--images", frame_images)
    flags = ("--size", 64, "--minimum-word-frequency", 2, "--clip-captions", 3, "--out", path / "data")
    assert main(["prepare", *map(str, (*sets, *flags))]) == 0
    return DataFolder(path / "data")


def test_photos_remember_their_data_set(mixed: DataFolder) -> None:
    train, val = mixed.split("TRAIN"), mixed.split("VAL")
    assert mixed.base.startswith("mixed_5_cap")
    assert train.set_names == val.set_names == ["tiny", "clips"]
    assert Counter(name for name, _ in train.origins or ()) == {"tiny": 36, "clips": 2 * CLIPS - 4 - 1}
    assert {name: len(split) for name, split in val.by_set().items()} == {"tiny": 6, "clips": 4}
    clips = val.by_set()["clips"]
    np.testing.assert_array_equal(clips.read_images(1, 2)[0], val.read_images(7, 8)[0])


def test_clip_captions_are_filtered_for_training_only(mixed: DataFolder) -> None:
    train = mixed.split("TRAIN")
    talking = ["people", "are", "talking", "about", "a", "box"]
    first = int(train.rows_of("clips")[0])
    assert talking in train.references[first]
    assert talking not in train.objectives[first]
    assert "talking" not in mixed.vocabulary.words
    assert train.objectives[0] == train.references[0]
    assert all(talking in references for references in mixed.split("VAL").by_set()["clips"].references)


def test_consensus_prefers_what_others_say_and_what_can_be_seen() -> None:
    def words(*texts: str) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(text.split()) for text in texts)

    kitchen = words(
        "a woman cooks in a kitchen", "a woman is in a kitchen", "a woman cooks a meal in a kitchen", "an advert for cars"
    )
    road = words("a car drives on a road", "a red car is on a road", "a man is talking about a car on a road")
    photos = [
        Photo(Path(f"{clip}.jpg"), number, "TRAIN", captions, "clips", clip)
        for number, (clip, captions) in enumerate({"kitchen": kitchen, "road": road}.items())
    ]
    scores = consensus(photos, INVISIBLE)
    assert min(kitchen, key=lambda caption: scores["kitchen", caption]) == kitchen[3]
    assert min(road, key=lambda caption: scores["road", caption]) == road[2]
    best = chosen(photos, ClipFilter(captions=2))
    assert [len(photo.objectives) for photo in best] == [2, 2]
    assert kitchen[3] not in best[0].objectives
    assert [photo.objectives for photo in chosen(photos, ClipFilter(captions=0))] == [kitchen, road]
    assert chosen([replace(photos[0], clean=False)], ClipFilter()) == []
    assert len(chosen([replace(photos[0], clean=False)], ClipFilter(clean_only=False))) == 1
    with pytest.raises(ConfigError, match="not a regular expression"):
        ClipFilter(invisible="(")


def test_whole_clips_are_held_out(mixed: DataFolder) -> None:
    train = mixed.split("TRAIN")
    rows = held_out_rows(train, parse_held_out("tiny=8,clips=3"))
    origins = [(train.origins or [])[row] for row in rows]
    assert Counter(name for name, _ in origins) == {"tiny": 8, "clips": 4}
    left = {(train.origins or [])[row] for row in range(len(train)) if row not in rows}
    assert not {origin for origin in origins if origin[1] is not None} & left
    assert rows.tolist() == sorted(rows)


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("8", "several data sets: say of which, as in tiny=4,clips=4"),
        ("tiny=8,other=3", "other=...: the folder has the data sets tiny, clips"),
        ("tiny=36", "tiny=36: its split TRAIN has 36 photos"),
        ("tiny=0", "no photo at all"),
        ("much", "a number is expected"),
        ("tiny=1,tiny=2", "stands there twice"),
    ],
)
def test_wrong_held_out_is_refused(mixed: DataFolder, text: str, output: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(output)):
        held_out_rows(mixed.split("TRAIN"), parse_held_out(text))


def test_mix_says_how_often_an_epoch_shows_a_set(mixed: DataFolder) -> None:
    photos = PhotoSet(mixed.split("TRAIN"), None)
    config = CONFIG.model_copy(update={"mix": {"tiny": 0.5, "clips": 2.0}})

    def shown(epoch: int) -> Counter[int]:
        return Counter(int(number) for step in Epoch(photos, config, epoch, HERE).steps for number in step)

    clips = set(photos.split.rows_of("clips").tolist())
    first, second = shown(0), shown(1)
    assert {first[number] for number in clips} == {2}
    assert sum(first[number] for number in set(first) - clips) == 18
    assert set(first) - clips != set(second) - clips
    assert first == shown(0)
    views = Epoch(photos, config.model_copy(update={"crop": 0.5}), 0, HERE)._see(np.array([40, 40]))
    assert not np.array_equal(views[0], views[1])
    with pytest.raises(ConfigError, match=r"train.mix: other: the data folder has the data sets tiny, clips"):
        Epoch(photos, CONFIG.model_copy(update={"mix": {"other": 1.0}}), 0, HERE)


def test_fit_and_evaluate_score_each_set(
    mixed: DataFolder, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ("--held-out", "tiny=8,clips=4", "--mix", "{clips: 0.5}", "--random-encoder", *FLAGS, "--epochs", 1)
    assert main(["fit", "--data", str(mixed.path), "--out", str(run), *map(str, flags)]) == 0
    (epoch,) = json.loads((run / "history.json").read_text())
    assert set(epoch["sets"]) == {"tiny", "clips"}
    mean = sum(scores["cider_d"] for scores in epoch["sets"].values()) / 2
    assert epoch["cider_d"] == pytest.approx(mean, abs=0.01)
    assert epoch["beam"] == 3
    assert "Epoch 0 (beam 3), clips: " in (run / "log.txt").read_text()
    assert json.loads((run / "run.json").read_text())["data"]["held_out"] == {"tiny": 8, "clips": 4}
    monkeypatch.setattr("train.evaluation.report.meteor", no_java)
    capsys.readouterr()
    assert main(["evaluate", "--bundle", str(tiny_bundle), "--data", str(mixed.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["sets"]
    assert {name: entry["photos"] for name, entry in found.items()} == {"tiny": 6, "clips": 4}
    assert main(["evaluate", "--bundle", str(tiny_bundle), "--data", str(mixed.path)]) == 0
    table = capsys.readouterr().out
    assert f"| clips (4 photos) | {found['clips']['scores']['bleu_1']:.4f} |" in table


def test_pairs_of_karpathy_and_images_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    karpathy, images = make_data_set(tmp_path / "source", 8)
    one = ("--karpathy", karpathy, "--images", images)
    assert main(["prepare", *map(str, (*one, "--karpathy", karpathy, "--out", tmp_path / "data"))]) == 2
    assert "2 --karpathy, but 1 --images" in capsys.readouterr().err
    assert main(["prepare", *map(str, (*one, *one, "--out", tmp_path / "data"))]) == 2
    assert "a second data set of the name 'tiny'" in capsys.readouterr().err
