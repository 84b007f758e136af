"""The whole benchmark, small: its figures fit each other, and the command says what it cannot do."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from framecap.bench import fullness, growth
from framecap.bench.figures import Figure, ReportSection
from framecap.bench.parts import Size
from framecap.bench.run import measure
from framecap.config import Config
from tests.command import run


def figures_of(sections: list[ReportSection]) -> dict[str, Figure]:
    figures = [figure for section in sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


@pytest.mark.timeout(300)
def test_the_figures_fit_each_other(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = Config.model_validate({"captioning": {"bundle": str(tiny_bundle), "threads": 1, "runtime": "onnx"}})
    size = Size(frames=4, runs=2, naive_frames=2, parts=("captioner", "pipeline", "naive", "latency", "near-duplicates"))
    head, sections = measure(config, size, None, tmp_path)
    found = figures_of(sections)
    assert "bundle tiny" in head[0]
    assert "4 JPEGs of 640x480" in head[1]
    assert len(found["end_to_end.speed"].values) == 2
    assert head[-1].startswith("too few frames or runs for a mark")
    assert [figure.name for figure in found.values() if figure.mark] == []
    whole, alone = found["end_to_end.cpu"].values, found["captioner.cpu"].values
    if added := found["pipeline.added"].values:  # so few frames may leave nothing to tell
        assert added == pytest.approx([a - b for a, b in zip(whole, alone, strict=True)])
    assert all(value >= 0 for name in ("end_to_end.cpu", "pipeline.added", "pipeline.cpu") for value in found[name].values)
    speeds, alone = found["captioner.speed"].values, found["encoder.speed"].values
    ratio = found["captioner.speed"].ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(statistics.median(a / b for a, b in zip(speeds, alone, strict=True)))
    assert 1 <= found["captioner.words"].median <= 24
    assert found["naive.same"].median == 1
    assert found["naive.captioner"].values == pytest.approx(
        [ours / theirs for ours, theirs in zip(speeds, found["naive.speed"].values, strict=True)]
    )
    assert len(found["latency.1"].values) == 12
    assert found["latency.memory"].median > 10
    assert found["near_duplicates.still"].median == 75  # the first of four is captioned


@pytest.mark.timeout(300)
def test_growth_and_start(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fullness, "_FRAMES", (0, 300))
    monkeypatch.setattr(fullness, "_WATCHED_SECONDS", 1.0)
    monkeypatch.setattr(growth, "_CAMERAS", (1, 2))
    monkeypatch.setattr(growth, "_BEAMS", (2, 1))
    config = Config.model_validate({"captioning": {"bundle": str(tiny_bundle), "threads": 1, "runtime": "onnx"}})
    _, sections = measure(config, Size(frames=4, runs=1, full=True, parts=("growth", "start")), None, tmp_path)
    found = figures_of(sections)
    assert list(found)[:4] == ["cameras.1", "cameras.1.memory", "cameras.2", "cameras.2.memory"]
    assert found["beam.1"].ratio is not None
    assert found["bucket.300.first"].median > 0
    assert found["store.300.first"].ratio is not None
    assert found["store.300.memory"].median > 10
    assert found["store.0.first"].median > 0
    assert found["start.help"].median > 0.01
    assert found["start.ready"].median > 0.01
    assert 100 < found["start.installed"].median < 1000


def test_the_command_prints_json_and_says_what_is_wrong(tiny_bundle: Path, tmp_path: Path) -> None:
    small = ("bench", "--frames", "2", "--runs", "1", "--bundle", tiny_bundle, "--runtime", "onnx")
    done = run(*small, "--only", "captioner", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {"encoder.speed", "captioner.speed"} <= {figure["name"] for figure in shown["figures"]}
    assert "bundle tiny" in shown["measured"][0]
    for arguments, output in {
        ("--only", "speed"): "--only: there is no part 'speed': take some of machine, captioner,",
        ("--runs", "0"): "--frames and --runs: at least 1 is expected",
        ("nowhere",): "nowhere: no images or video here",
        ("--set", "captioning.kind=transformers"): "captioning.kind: bench measures bundles, not transformers",
        ("--runtime", "null"): "captioning.runtime: null has no model to measure",
    }.items():
        wrong = run(*small, *arguments, cwd=tmp_path)
        assert wrong.returncode == 2, wrong.stderr
        assert wrong.stderr.startswith(f"framecap: {output}")
        assert not wrong.stdout
