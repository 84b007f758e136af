"""Bundles, whole and tampered with: what opens, and what is refused with which words."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from framecap.captioning.bundle import PARTS, open_bundle
from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig
from framecap.errors import BundleError


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def rewrite(bundle: Path, **changes: object) -> None:
    card = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**card, **changes}))


def test_the_hash_is_of_the_parts_not_of_the_address_or_the_scores(tiny_bundle: Path, copy: Path) -> None:
    before = open_bundle(str(tiny_bundle)).hash
    rewrite(copy, scores={"bleu_4": 1.0})
    assert open_bundle(str(copy)).hash == before


@pytest.mark.parametrize("name", ["made", "default"])
def test_nothing_in_a_bundle_names_the_machine_that_made_it(tiny_bundle: Path, name: str) -> None:
    bundle = open_bundle(str(tiny_bundle) if name == "made" else name)
    for part in (*PARTS, "bundle.json"):
        data = (bundle.path / part).read_bytes()
        assert not re.search(rb"\.py\b", data), f"{part}: a Python file"
        for trace in (b'File "', str(Path.home()).encode() + b"/", str(Path(__file__).parents[2]).encode()):
            assert trace not in data, f"{part}: {trace!r}"


@pytest.mark.faults(31)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_bundle_is_refused(copy: Path, part: str) -> None:
    with (copy / part).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BundleError, match=f"{part}: not the file that bundle.json names"):
        open_bundle(str(copy))


@pytest.mark.faults(31)
@pytest.mark.parametrize("part", [*PARTS, "bundle.json"])
def test_a_missing_part_is_named(copy: Path, part: str) -> None:
    (copy / part).unlink()
    with pytest.raises(BundleError, match=part):
        open_bundle(str(copy))


@pytest.mark.faults(31)
@pytest.mark.parametrize(
    ("changes", "output"),
    [
        ({"format": 99}, "format"),
        ({"name": "../../etc"}, "name"),
        ({"preprocessing": {"size": 0, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "preprocessing.size"),
        ({"files": {}}, "its files must be"),
        ({"files": {"../../../etc/passwd": "0" * 64}}, "its files must be"),
        ({"decoder": {"kind": "attention_lstm"}}, "decoder.words"),
    ],
)
def test_a_wrong_card_is_refused_with_its_key(copy: Path, changes: dict[str, object], output: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=output):
        open_bundle(str(copy))


@pytest.mark.faults(31)
def test_a_vocabulary_of_another_model_is_refused(copy: Path) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    rewrite(copy, decoder={**card["decoder"], "words": card["decoder"]["words"] + 1})
    with pytest.raises(BundleError, match="of two models"):
        open_bundle(str(copy))


SPECIAL = b'{"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, '


def seal(bundle: Path, part: str, content: bytes) -> None:
    """Another part, with its own hash in bundle.json."""
    (bundle / part).write_bytes(content)
    card = json.loads((bundle / "bundle.json").read_text())
    rewrite(bundle, files={**card["files"], part: hashlib.sha256(content).hexdigest()})


@pytest.mark.faults(31)
@pytest.mark.parametrize(
    ("vocabulary", "output"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "not JSON"),
        (SPECIAL + b'"\\u001b]0;dog\\u0007": 4}', "control characters"),
        (SPECIAL + b'"\\u009b31m": 4}', "control characters"),
        (SPECIAL + b'"\\ud800": 4}', "surrogates"),
    ],
)
def test_a_vocabulary_that_cannot_be_reported_is_refused(copy: Path, vocabulary: bytes, output: str) -> None:
    seal(copy, "vocabulary.json", vocabulary)
    with pytest.raises(BundleError, match=output):
        open_bundle(str(copy))


def test_a_vocabulary_that_is_too_large_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.captioning.bundle.MAX_JSON_BYTES", (copy / "bundle.json").stat().st_size)
    seal(copy, "vocabulary.json", b" " * 100_000)
    with pytest.raises(BundleError, match=r"vocabulary.json: too large"):
        open_bundle(str(copy))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [*PARTS, "bundle.json"])
def test_a_part_that_is_no_file_is_not_waited_for(copy: Path, part: str) -> None:
    (copy / part).unlink()
    os.mkfifo(copy / part)
    with pytest.raises(BundleError, match="no regular file"):
        open_bundle(str(copy))


@pytest.mark.faults(31)
@pytest.mark.parametrize(
    ("changes", "output"),
    [
        ({"preprocessing": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "graphs do not fit"),
        ({"places": [3, 4]}, "another grid"),
    ],
)
def test_a_card_of_another_model_is_refused_before_any_frame(copy: Path, changes: dict[str, object], output: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=output):
        load_captioner(CaptioningConfig(bundle=str(copy), runtime="onnx"))


@pytest.mark.faults(31)
def test_graphs_in_each_others_address_are_refused_before_any_frame(copy: Path) -> None:
    encoder, decoder = ((copy / part).read_bytes() for part in ("encoder.onnx", "decoder.onnx"))
    seal(copy, "encoder.onnx", decoder)
    seal(copy, "decoder.onnx", encoder)
    with pytest.raises(BundleError, match="graphs do not fit"):
        load_captioner(CaptioningConfig(bundle=str(copy), runtime="onnx"))


def test_no_bundle_says_where_bundles_come_from(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no model bundle here.*`default` for the bundled model.*train export"):
        open_bundle(str(tmp_path / "nothing"))


def test_the_model_in_the_box_is_whole_and_small() -> None:
    bundle = open_bundle("default")
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) <= 40_000_000
    assert bundle.card.training["command"]
    assert bundle.card.licences
