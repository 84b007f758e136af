"""The gate: what a golden set is, what is scored, who passes, and what a user sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from framecap.captioning.caption import Caption, Images, ModelName
from framecap.config import WorkerConfig
from framecap.errors import ConfigError, NonFiniteOutput
from framecap.upkeep.gate import GoldenFrame, ModelResult, Thresholds, Verdict, compare, golden_set, judge, words_of
from tests import command
from tests.worker.fakes import ScriptedCaptioner, fill
from tests.worker.images import encoded, scene
from train.evaluation.scores import score

OUTPUT = ("A dog runs.", "A cat sleeps.", "Two boys play.", "A man sits.", "A red car.")
REFERENCES = {n: f"{OUTPUT[n % 5]}\nthere is {OUTPUT[n % 5].lower()}\n" for n in range(12)}


def fill_golden(root: Path, references: dict[int, str] | None = None) -> None:
    fill(root, {f"a/{n:02}.jpg": encoded(scene(48, 36, seed=n)) for n in range(12)})
    fill(root, {f"a/{n:02}.jpg.txt": text.encode() for n, text in (references or {}).items()})


def side(
    texts: Sequence[str | Exception], seconds: float = 1.0, confidence: float = 0.5, uncertain: bool | None = False
) -> ModelResult:
    answers = [
        text if isinstance(text, Exception) else Caption(text, confidence, (), (), uncertain=uncertain) for text in texts
    ]
    return ModelResult("m", "0" * 64, answers, seconds)


def golden(references: bool = True) -> list[GoldenFrame]:
    lines = [tuple(map(words_of, REFERENCES[n].splitlines())) if references else () for n in range(12)]
    return [GoldenFrame(f"{n}.jpg", Path(f"{n}.jpg"), several) for n, several in enumerate(lines)]


RIGHT = [OUTPUT[n % 5] for n in range(12)]
WRONG = [OUTPUT[(n + 1) % 5] for n in range(12)]


@pytest.mark.parametrize(
    ("old", "new", "thresholds", "problem"),
    [
        (RIGHT, RIGHT, Thresholds(), None),
        (WRONG, RIGHT, Thresholds(), None),
        (WRONG, RIGHT, Thresholds(gain=100), None),
        (RIGHT, WRONG, Thresholds(), "CIDEr-D changes by -"),
        (RIGHT, RIGHT, Thresholds(gain=0.1), r"CIDEr-D changes by \+0.00, less than \+0.1"),
        (RIGHT, [*RIGHT[:-1], NonFiniteOutput("NaN")], Thresholds(gain=-1000), "fails on 1 images, the old one on 0"),
    ],
)
def test_who_passes_with_references(
    old: list[str | Exception], new: list[str | Exception], thresholds: Thresholds, problem: str | None
) -> None:
    check(judge(golden(), side(old), side(new), thresholds), problem)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (side(RIGHT), side(WRONG), None),
        (side(RIGHT), side(WRONG, confidence=0.6), None),
        (side(RIGHT), side(WRONG, confidence=0.4), "mean confidence changes by -0.100"),
        (side(RIGHT), side(RIGHT, uncertain=None), "nobody can tell"),
        (side(RIGHT), side(RIGHT, seconds=1.9), None),
        (side(RIGHT), side(RIGHT, seconds=2.1), r"0.48 of the old one's speed, less than 0.5"),
    ],
)
def test_who_passes_without_references(old: ModelResult, new: ModelResult, problem: str | None) -> None:
    check(judge(golden(references=False), old, new, Thresholds()), problem)


def check(verdict: Verdict, problem: str | None) -> None:
    if problem is None:
        assert verdict.problems == ()
    else:
        (output,) = verdict.problems
        with pytest.raises(AssertionError, match=problem):
            raise AssertionError(output)


def test_scores_are_those_of_training() -> None:
    output = [*RIGHT[:6], *WRONG[6:]]
    verdict = judge(golden(), side(WRONG), side(output), Thresholds())
    expected = score([words_of(text) for text in output], [one.references for one in golden()])
    assert verdict.new is not None
    assert sum(verdict.new.cider_d) / 12 == pytest.approx(expected.cider_d, abs=1e-3)
    assert verdict.new.bleu_4 == pytest.approx(expected.bleu_4, abs=1e-6)
    assert verdict.interval is not None
    assert verdict.gain is not None
    assert verdict.interval[0] < verdict.gain < verdict.interval[1]


def test_each_model_gets_images_of_its_size_and_a_broken_image_stays_its_own(tmp_path: Path) -> None:
    fill_golden(tmp_path)
    (tmp_path / "a/03.jpg").write_bytes(b"<html>")

    class Large(ScriptedCaptioner):
        image_size = 48
        model = ModelName("large", "2" * 64, "scripted")

    def answer(side_of: int) -> Callable[[Images], list[Caption]]:
        def answers(images: Images) -> list[Caption]:
            assert images.shape[1:] == (side_of, side_of, 3)
            return [Caption(f"Side {side_of}.", 0.5, (), ())] * len(images)

        return answers

    heard: list[int] = []
    captioners = ScriptedCaptioner(answer(32)), Large(answer(48))
    old, new = compare(golden_set(tmp_path), *captioners, WorkerConfig(batch_size=5), heard.append)
    assert [type(one).__name__ for one in old.answers] == ["Caption"] * 3 + ["UndecodableFrame"] + ["Caption"] * 8
    assert {one.text for one in new.captions} == {"Side 48."}
    assert (old.failed, new.failed, heard, new.hash) == (1, 1, [5, 5, 2], "2" * 64)


def test_what_is_no_golden_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        golden_set(tmp_path / "x")
    with pytest.raises(ConfigError, match="0 images are too few to judge by: 10 at least"):
        golden_set(tmp_path)
    fill_golden(tmp_path, {n: text for n, text in REFERENCES.items() if n != 7})
    with pytest.raises(ConfigError, match=r"1 of 12 images have no references, first of all a/07\.jpg: write captions"):
        golden_set(tmp_path)
    (tmp_path / "a/07.jpg.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"07\.jpg\.txt: cannot be read"):
        golden_set(tmp_path)


def test_references_are_compared_as_words(tmp_path: Path) -> None:
    fill_golden(tmp_path, REFERENCES | {0: "  A man's T-shirt, red!\n\nOne.\n"})
    assert golden_set(tmp_path)[0].references == (("a", "man's", "t-shirt", "red"), ("one",))


def test_the_command(tiny_bundle: Path, tmp_path: Path) -> None:
    fill_golden(tmp_path / "golden", REFERENCES)
    arguments = ("gate", tiny_bundle, "--golden", "golden", "--min-speed", "0.001")
    done = command.run(*arguments, "--bundle", tiny_bundle, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "golden set: 12 images, with references" in done.stdout
    assert "0 of 12 captions change" in done.stdout
    assert done.stdout.splitlines()[-1] == "passed"
    done = command.run(*arguments, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["passed"] else 1)
    assert (found["old"]["name"], found["new"]["name"], len(found["images"])) == ("default", "tiny", 12)
    done = command.run("gate", tmp_path / "nothing", "--golden", "golden", cwd=tmp_path)
    assert (done.returncode, "no model bundle here" in done.stderr) == (2, True)
