"""Both runtimes on the same bundles: the same captions, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from framecap.captioning.bundle import BUNDLED_MODELS, open_bundle
from framecap.captioning.caption import Caption, Captioner, Images
from framecap.captioning.load import load_captioner
from framecap.captioning.runtimes.onnx import OnnxRuntime
from framecap.config import CaptioningConfig
from framecap.errors import MissingError
from tests.tiny import COLOURS, SHAPES, draw_image, with_exact_graphs

AGREEMENT = 0.999  # of captions that are the same in both runtimes
FULL_FRAMES = 1000


def captioner(bundle: Path | str, runtime: str) -> Captioner:
    return load_captioner(CaptioningConfig(bundle=str(bundle), runtime=runtime))


def captions(model: Captioner, images: Images, batch: int = 16) -> list[Caption]:
    found = [caption for start in range(0, len(images), batch) for caption in model.caption(images[start : start + batch])]
    assert all(isinstance(caption, Caption) for caption in found)
    return found


def frames_of(clip: Path, count: int, size: int) -> Images:
    """Images of the clip at random brightness, zoom and place, (count, size, size, 3) RGB."""
    generator = np.random.default_rng(1)
    source = cv2.VideoCapture(str(clip))
    frames = []
    while (read := source.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    chosen = []
    for number in range(count):
        frame = frames[number * len(frames) // count]
        height, width = (int(side * generator.uniform(0.5, 1)) for side in frame.shape[:2])
        top, left = (
            int(generator.integers(0, side - part + 1)) for side, part in zip(frame.shape, (height, width), strict=False)
        )
        cut = cv2.convertScaleAbs(frame[top : top + height, left : left + width], alpha=generator.uniform(0.7, 1.3))
        chosen.append(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(chosen)


@pytest.fixture(scope="module")
def shapes() -> Images:
    return np.stack([draw_image(colour, shape, seed) for colour in COLOURS for shape in SHAPES for seed in range(4)])


def test_both_runtimes_say_the_same(clip: Path, full: bool, figure: Callable[[str], None], tmp_path: Path) -> None:
    """With the weights of the bundled model; its own encoder graph is in int8."""
    images = frames_of(clip, FULL_FRAMES if full else 60, 224)
    exact = with_exact_graphs(BUNDLED_MODELS / "default", tmp_path / "exact")
    onnx, torch = (captions(captioner(exact, runtime), images) for runtime in ("onnx", "torch"))
    same = sum(one.text == other.text for one, other in zip(onnx, torch, strict=True))
    figure(f"{same} of {len(images)} captions are the same in ONNX Runtime and PyTorch")
    assert same >= AGREEMENT * len(images)
    assert [c.confidence for c in onnx] == pytest.approx([c.confidence for c in torch], abs=0.01)


def test_int8_says_nearly_the_same_of_the_clip(clip: Path) -> None:
    images = frames_of(clip, 30, 224)
    onnx, torch = (captions(captioner("default", runtime), images) for runtime in ("onnx", "torch"))
    assert sum(("dog" in one.words) == ("dog" in other.words) for one, other in zip(onnx, torch, strict=True)) >= 27


def test_a_small_bundle_says_the_same_in_both(tiny_bundle: Path, shapes: Images) -> None:
    onnx, torch = (captions(captioner(tiny_bundle, runtime), shapes) for runtime in ("onnx", "torch"))
    assert [c.text for c in onnx] == [c.text for c in torch]
    for one, other in zip(onnx, torch, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-3)
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-3)
        np.testing.assert_allclose(one.attention.sum(axis=(1, 2)), 1, atol=1e-5)
        assert one.attention.shape == (len(one.words), 3, 3)


def test_a_caption_does_not_depend_on_its_batch(tiny_bundle: Path, shapes: Images) -> None:
    model = captioner(tiny_bundle, "onnx")
    alone = captions(model, shapes, batch=1)
    assert [c.text for c in captions(model, shapes, batch=32)] == [c.text for c in alone]
    assert [c.text for c in captions(model, shapes[::-1], batch=7)][::-1] == [c.text for c in alone]


def test_captions_read_like_sentences(tiny_bundle: Path, shapes: Images) -> None:
    settings = {"capitalise": False, "full_stop": False, "alternatives": 1}
    plain = load_captioner(CaptioningConfig(bundle=str(tiny_bundle), runtime="onnx", **settings)).caption(shapes[:4])
    written = captions(captioner(tiny_bundle, "onnx"), shapes[:4])
    for bare, shown in zip(plain, written, strict=True):
        assert isinstance(bare, Caption)
        assert bare.text == " ".join(bare.words)
        assert "<" not in shown.text
        assert shown.text == bare.text[0].upper() + bare.text[1:] + ("" if shown.truncated else ".")
        assert len(bare.alternatives) <= 1
        assert 0 < bare.confidence <= 1


def test_the_torch_runtime_says_what_it_needs(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.captioning.load.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'framecap\[gpu\]'"):
        captioner(tiny_bundle, "torch")


def test_without_cuda_auto_is_onnx(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.captioning.load._CUDA_DEVICES", ())
    assert captioner(tiny_bundle, "auto").model.runtime == OnnxRuntime.name


def test_two_batches_at_a_time_share_the_cores(tiny_bundle: Path) -> None:
    bundle = open_bundle(str(tiny_bundle))
    assert [OnnxRuntime(bundle, threads).lanes for threads in (1, 2, 5)] == [1, 2, 2]
