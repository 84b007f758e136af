"""The naive loop: by the same rules it finds the same captions as framecap's own search, and it runs as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.naive_loop import NaiveLoop, compare
from framecap.captioning.bundle import open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.captioner import BundleCaptioner, Runtime
from framecap.captioning.load import load_runtime
from framecap.config import CaptioningConfig
from framecap.decoding.preprocess import Preprocessing, decode
from tests.command import ROOT, environment
from tests.tiny import COLOURS, SHAPES, draw_image


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number, (colour, shape) in enumerate((colour, shape) for colour in COLOURS for shape in SHAPES):
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), draw_image(colour, shape, number))
    return paths


@pytest.fixture(scope="module")
def loop(tiny_bundle: Path) -> NaiveLoop:
    return NaiveLoop(open_bundle(str(tiny_bundle)), CaptioningConfig(bundle=str(tiny_bundle), max_words=8, threads=1))


@pytest.fixture(scope="module")
def runtime(loop: NaiveLoop) -> Runtime:
    return load_runtime(loop.bundle, CaptioningConfig(runtime="torch", threads=1))


@settings(max_examples=20, deadline=None)
@given(
    beam=st.integers(1, 6),
    max_words=st.integers(1, 8),
    block_ngrams=st.integers(0, 3),
    length_penalty=st.sampled_from([0.0, 0.7, 1.5]),
    number=st.integers(0, len(COLOURS) * len(SHAPES) - 1),
)
def test_it_says_what_framecap_says(
    loop: NaiveLoop,
    runtime: Runtime,
    images: list[Path],
    beam: int,
    max_words: int,
    block_ngrams: int,
    length_penalty: float,
    number: int,
) -> None:
    config = CaptioningConfig(beam=beam, max_words=max_words, block_ngrams=block_ngrams, length_penalty=length_penalty)
    data = images[number].read_bytes()
    pixels = decode(data, Preprocessing(loop.encoder.size), 10**6).pixels
    (ours,) = BundleCaptioner(loop.bundle, runtime, config).caption(pixels[None])
    assert isinstance(ours, Caption)
    assert loop.with_config(config).run([data]).captions == [ours.text]


def test_the_tutorial_s_own_search_ends_or_says_that_nothing_ended(loop: NaiveLoop, images: list[Path]) -> None:
    data = [path.read_bytes() for path in images]
    output = loop.run(data, tutorial=True)
    assert all(caption is None or caption.endswith(".") for caption in output.captions)
    assert any(output.captions)
    assert output.caption_seconds > 0
    short = loop.with_config(CaptioningConfig(max_words=1, beam=1))
    assert None in short.run(data, tutorial=True).captions


def test_both_are_compared(loop: NaiveLoop, images: list[Path]) -> None:
    figures = compare(loop, [path.read_bytes() for path in images])
    assert figures["same_captions"] == figures["frames"] == len(images)
    ratio = figures["framecap_frames_per_second"] / figures["naive_frames_per_second"]
    assert figures["ratio"] == pytest.approx(ratio)


def test_it_serves_the_benchmark(tiny_bundle: Path, images: list[Path]) -> None:
    asked = [json.dumps({"paths": [str(images[0])], "tutorial": tutorial}) for tutorial in (False, True)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.naive_loop", "--serve", "--bundle", tiny_bundle, "--config", '{"beam": 2}'],
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        input="\n".join(asked),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    ready, *answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ready["device"] in ("cpu", "cuda")
    assert [len(answer["captions"]) for answer in answers] == [1, 1]


def test_a_bundle_that_is_not_there_ends_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.naive_loop", "--bundle", tmp_path / "none", "x.jpg"],
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("naive_loop: ")
    assert "no model bundle here" in done.stderr
