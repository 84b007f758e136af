"""evaluate: captions as the worker's, scores of them, a report, COCO's results file, and the seed's own BLEU beside them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framecap.captioning.bundle import open_bundle
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_runtime
from framecap.captioning.runtimes.pytorch import load_modules
from framecap.captioning.vocabulary import PAD, START, UNKNOWN
from framecap.config import CaptioningConfig
from framecap.errors import ConfigError, MissingError
from tests.tiny import make_data_set
from train.__main__ import main
from train.data.dataset import DataFolder
from train.data.prepare import Recipe, prepare
from train.evaluation.evaluate import evaluate, write_scores
from train.evaluation.java_scores import JavaScore
from train.evaluation.page import drawn
from train.evaluation.scores import score
from train.evaluation.seed_bleu import teacher_forced

CONFIG = CaptioningConfig(runtime="onnx", beam=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with COCO's ids; a minimum of 30 makes some words of its captions unknown."""
    karpathy, images = make_data_set(tmp_path_factory.mktemp("source"))
    document = json.loads(karpathy.read_text())
    for number, entry in enumerate(document["images"]):
        entry["cocoid"] = 1000 + number
    karpathy.write_text(json.dumps(document))
    out = tmp_path_factory.mktemp("data")
    prepare(Recipe(dataset="tiny", size=64, minimum_word_frequency=30), karpathy, images, out)
    return out


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR takes seconds to start: its own test starts it."""

    def missing(*_: object) -> JavaScore:
        raise MissingError("METEOR: no Java here")

    monkeypatch.setattr("train.evaluation.report.meteor", missing)


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["evaluate", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_images_of_another_size_are_reported(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(
        Recipe(dataset="tiny", size=32, minimum_word_frequency=3), *make_data_set(tmp_path / "source"), tmp_path / "data"
    )
    code, _, error = command(capsys, "--bundle", tiny_bundle, "--data", tmp_path / "data")
    assert code == 2
    assert "its images are 32 pixels wide" in error
    assert "takes 64: make a data folder for it with `python -m train prepare --size 64`" in error


def test_the_captions_are_the_workers_and_the_scores_are_of_them(tiny_bundle: Path, data: Path) -> None:
    bundle, split = open_bundle(str(tiny_bundle)), DataFolder(data).split("VAL")
    found = evaluate(bundle, split, CONFIG)
    captioner = BundleCaptioner(bundle, load_runtime(bundle, CONFIG), CONFIG)
    assert found.captions == list(captioner.caption(split.read_images(0, len(split))))
    assert found.scores == score([caption.words for caption in found.captions], split.references)
    assert found.photos_per_second > 0


def test_a_bundle_in_int8_is_judged_by_its_int8_numbers_where_cuda_is_too(
    tiny_bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framecap.captioning.load._cuda_is_there", lambda: True)
    exact, split = open_bundle(str(tiny_bundle)), DataFolder(data).split("VAL")
    int8 = replace(exact, card=exact.card.model_copy(update={"training": {"quantised": {"photos": 512}}}))
    automatic, torch_alone = (CONFIG.model_copy(update={"runtime": name}) for name in ("auto", "torch"))
    assert evaluate(int8, split, automatic).runtime == "onnxruntime"
    assert evaluate(exact, split, automatic).runtime.startswith("torch")
    assert evaluate(int8, split, torch_alone).runtime.startswith("torch")  # whoever asks for it gets it


@pytest.mark.usefixtures("no_java")
def test_the_command_prints_a_table_and_writes_json_and_results(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "scores.json", tmp_path / "results.json"
    common = ("--bundle", tiny_bundle, "--data", data, "--beam", 2)
    code, table, _ = command(capsys, *common, "--out", out, "--results", results)
    assert code == 0
    document = json.loads(out.read_text())
    evaluation = evaluate(open_bundle(str(tiny_bundle)), DataFolder(data).split("VAL"), CONFIG)
    assert document["scores"] == evaluation.scores.rounded()
    assert document["photos"] == 6
    assert document["runtime"] == evaluation.runtime
    assert f"photos/s captioned by the runtime {evaluation.runtime}" in table
    assert document["captioning"]["beam"] == 2
    for name, (low, high) in document["intervals_95"].items():
        assert low <= document["scores"][name] <= high
        assert f"| {name} | {document['scores'][name]:.{2 if name == 'cider_d' else 4}f} | " in table
    assert document["not_measured"][0] == "METEOR: no Java here"
    assert "not measured: METEOR: no Java here" in table
    assert "not comparable with any other score" in table
    assert json.loads(results.read_text()) == [
        {"image_id": 1000 + 8 * n, "caption": " ".join(caption.words)} for n, caption in enumerate(evaluation.captions)
    ]


@pytest.mark.usefixtures("no_java")
def test_json_is_one_line_on_standard_output(tiny_bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = command(capsys, "--bundle", tiny_bundle, "--data", data, "--split", "test", "--json")
    assert code == 0
    assert json.loads(output)["split"] == "test"
    assert set(json.loads(output)["definitions"]) >= {"bleu_1..4", "cider_d", "meteor"}


@pytest.mark.usefixtures("no_java")
def test_a_page_shows_captions_to_count(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "captions.html"
    code, _, _ = command(capsys, "--bundle", tiny_bundle, "--data", data, "--show", 4, "--page", page)
    assert code == 0
    text = page.read_text()
    assert (text.count("<article>"), text.count('<button value="partly"')) == (4, 4)
    assert len(set(re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text))) == 4
    assert not re.findall(r"https?://|<link|src=\"(?!data:)", text)
    split = DataFolder(data).split("VAL")
    captions = evaluate(open_bundle(str(tiny_bundle)), split, CaptioningConfig()).captions
    shown = drawn(len(split), 4, 1)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [captions[address].text for address in shown]
    for address in shown:
        assert f"<li>{' '.join(split.references[address][0])}</li>" in text
    assert command(capsys, "--data", data, "--show", 0)[0] == 2


def without(data: Path, kind: str, folder: Path) -> Path:
    """The data folder without its files of a kind."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns(f"*_{kind}_*"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("--beam", 0), "captioning.beam"),
        (("--out", "nowhere/scores.json"), "there is no folder nowhere"),
        (("--results", "."), "is a folder: name a file in it"),
        (("--bundle", "nowhere"), "no model bundle here"),
    ],
)
def test_wrong_use_is_reported_before_the_work(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[Any, ...], output: str
) -> None:
    code, _, error = command(capsys, "--data", data, *arguments)
    assert code == 2
    assert output in error


def test_a_folder_without_ids_or_raw_references_is_refused(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = without(data, "IDS", tmp_path / "ids")
    code, _, error = command(capsys, "--bundle", tiny_bundle, "--data", folder, "--results", tmp_path / "results.json")
    assert (code, "no image ids" in error) == (2, True)
    folder = without(data, "REFERENCES", tmp_path / "references")
    with pytest.raises(ConfigError, match="would not be comparable"):
        evaluate(open_bundle(str(tiny_bundle)), DataFolder(folder).split("VAL"), CONFIG)


def test_ids_of_other_photos_are_refused(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = without(data, "nothing", tmp_path / "data")
    (path,) = folder.glob("VAL_IDS_*")
    for content in ("[1, 2]", "{}", '["a", "b", "c", "d", "e", "f"]', "["):
        path.write_text(content)
        arguments = ("--bundle", tiny_bundle, "--data", folder, "--results", tmp_path / "results.json")
        code, _, error = command(capsys, *arguments)
        assert (code, "run prepare again" in error) == (2, True)


def test_the_seeds_bleu_is_its_validate(tiny_bundle: Path, data: Path) -> None:
    """Against the tutorial's own way: caption after caption, word after word, its code's names and steps."""
    bundle, folder = open_bundle(str(tiny_bundle)), DataFolder(data)
    split, word_map = folder.split("VAL"), {word: n for n, word in enumerate(bundle.vocabulary.words)}
    encoder, decoder = load_modules(bundle)
    references, hypotheses = [], []
    with torch.no_grad():
        for photo in range(len(split)):
            encoded = [
                [word_map.get(folder.vocabulary.words[w], word_map[UNKNOWN]) for w in caption]
                for caption in split.captions[photo]
            ]
            img_captions = [[w for w in c if w not in {word_map[START], word_map[PAD]}] for c in encoded]
            features = encoder(torch.from_numpy(split.read_images(photo, photo + 1)))
            for caption, length in zip(encoded, split.lengths[photo], strict=True):
                memory, state = decoder.begin(features)
                preds = []
                for word in caption[: length - 1]:
                    state, _ = decoder.advance(memory, state, torch.tensor([[word]]))
                    preds.append(int(decoder.logits(state.hidden).argmax()))
                references.append(img_captions)
                hypotheses.append(preds)
    output, meant = teacher_forced(bundle, split, folder.vocabulary)
    assert [list(map(int, words)) for words in output] == hypotheses
    assert [[list(map(int, words)) for words in several] for several in meant] == references
    assert any(word_map[UNKNOWN] in caption for captions in references for caption in captions)


def test_scores_go_on_the_card_and_change_no_hash(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    bundle = open_bundle(str(shutil.copytree(tiny_bundle, tmp_path / "bundle")))
    found = evaluate(bundle, DataFolder(data).split("VAL"), CONFIG)
    again = write_scores(bundle, "tiny val, beam 2", found.scores)
    assert again.card.scores["tiny val, beam 2"]["cider_d"] == np.round(found.scores.cider_d, 2)
    assert again.hash == bundle.hash
