"""METEOR as its own program says it, and what is said where Java or its parts are missing or fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framecap.errors import MissingError, ModelError
from tests.system_packages import needs_package
from tests.train.evaluation.test_scores import made_up
from train.evaluation import java_scores
from train.evaluation.java_scores import SPICE_MODELS, meteor, spice

METEOR_OF_THESE = 0.27126275165788094
CAPTIONS, REFERENCES = made_up(4)


def program(folder: Path, text: str) -> None:
    """A `java` of our own."""
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n{text}\n")
    java.chmod(0o755)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if SPICE's language models had been downloaded."""
    for name in SPICE_MODELS:
        path = tmp_path / "package" / "spice" / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(java_scores, "_package", lambda: tmp_path / "package")
    monkeypatch.setattr("pycocoevalcap.spice.spice.get_stanford_models", lambda: None)


def test_meteor() -> None:
    """Source of the figure: `Meteor().compute_score` of pycocoevalcap for the same sentences."""
    needs_package("default-jre-headless", "/usr/bin/java")
    captions = [["a", "dog", "runs", "on", "the", "grass"], ["two", "men", "play", "|||", "ball"], []]
    references = [
        [["a", "dog", "is", "running", "through", "the", "grass"], ["the", "brown", "dog", "runs"]],
        [["two", "boys", "are", "playing", "with", "a", "ball"]],
        [["a", "café"]],
    ]
    found = meteor(captions, references)
    assert found.value == pytest.approx(METEOR_OF_THESE, abs=1e-9)
    assert found.interval[0] < found.value < found.interval[1]


def test_without_java_it_is_reported_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="METEOR: no Java here: install a JRE"):
        meteor(CAPTIONS, REFERENCES)
    with pytest.raises(MissingError, match="SPICE: no Java here"):
        spice(CAPTIONS, REFERENCES)


def test_a_program_that_dies_is_an_error_and_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exit 7")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"METEOR: its program ended \(exit code 7\)"):
        meteor(CAPTIONS, REFERENCES)


def test_without_its_models_spice_says_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exit 7")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java_scores, "_package", lambda: tmp_path)
    with pytest.raises(MissingError, match="get_stanford_models"):
        spice(CAPTIONS, REFERENCES)


@pytest.mark.usefixtures("models")
def test_spice_is_the_mean_of_its_programs_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"image_id": n, "scores": {"All": {"f": f}}} for n, f in enumerate((0.5, 0.25, None, 0.25))]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    program(tmp_path, f'cp {tmp_path}/answers.json "$8"')  # java -jar -Xmx8G <jar> <in> -cache <folder> -out <out>
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = spice(CAPTIONS, REFERENCES)
    assert found.value == 0.25  # no answer counts as nothing found
    assert found.interval[0] < 0.25 < found.interval[1]


@pytest.mark.usefixtures("models")
def test_a_spice_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="SPICE: its program failed"):
        spice(CAPTIONS, REFERENCES)
