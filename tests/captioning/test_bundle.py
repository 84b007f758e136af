"""Bundles, whole and tampered with: what opens, and what is refused with which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from framecap.captioning.bundle import PARTS, open_bundle
from framecap.errors import BundleError


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def rewrite(bundle: Path, **changes: object) -> None:
    card = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**card, **changes}))


def test_the_hash_is_of_the_parts_not_of_the_place_or_the_scores(tiny_bundle: Path, copy: Path) -> None:
    before = open_bundle(str(tiny_bundle)).hash
    rewrite(copy, scores={"bleu_4": 1.0})
    assert open_bundle(str(copy)).hash == before


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
    ("changes", "said"),
    [
        ({"format": 99}, "format"),
        ({"name": "../../etc"}, "name"),
        ({"preprocessing": {"size": 0, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "preprocessing.size"),
        ({"files": {}}, "its files must be"),
        ({"files": {"../../../etc/passwd": "0" * 64}}, "its files must be"),
        ({"decoder": {"kind": "attention_lstm"}}, "decoder.words"),
    ],
)
def test_a_wrong_card_is_refused_with_its_key(copy: Path, changes: dict[str, object], said: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=said):
        open_bundle(str(copy))


@pytest.mark.faults(31)
def test_a_vocabulary_of_another_model_is_refused(copy: Path) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    rewrite(copy, decoder={**card["decoder"], "words": card["decoder"]["words"] + 1})
    with pytest.raises(BundleError, match="of two models"):
        open_bundle(str(copy))


def test_no_bundle_says_where_bundles_come_from(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no model bundle here.*--bundle"):
        open_bundle(str(tmp_path / "nothing"))


def test_the_model_in_the_box_is_whole_and_small() -> None:
    bundle = open_bundle("default")
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) <= 40_000_000
    assert bundle.card.training["command"]
    assert bundle.card.licences
