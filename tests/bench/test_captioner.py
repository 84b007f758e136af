"""The captioner's speed is that of the worker's way: in this thread, or in as many threads as the runtime has lanes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from framecap.bench.captioner import MeasuredCaptioner
from framecap.bench.images import make_images
from framecap.captioning.caption import Images
from framecap.config import Config


@pytest.fixture
def model(tiny_bundle: Path, tmp_path: Path) -> MeasuredCaptioner:
    """For five images, in batches of two."""
    captioning = {"bundle": str(tiny_bundle), "threads": 1, "runtime": "onnx"}
    config = Config.model_validate({"captioning": captioning, "worker": {"batch_size": 2}})
    return MeasuredCaptioner(config, make_images(tmp_path / "images", 5, None))


def test_one_lane_is_this_thread_with_every_image_once(model: MeasuredCaptioner, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    def caption(images: Images) -> None:
        calls.append((len(images), threading.get_ident()))

    monkeypatch.setattr(model, "_captioner", lambda _: SimpleNamespace(caption=caption))
    assert model.captioner().frames > 0
    assert calls == [(frames, threading.get_ident()) for frames in (2, 2, 2, 1)]  # the first one warms it
    assert model.rounds == 1


def test_several_lanes_are_filled_with_twenty_whole_batches_each(
    model: MeasuredCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = threading.Barrier(3)
    calls: list[int] = []

    def caption(images: Images) -> None:
        calls.append(len(images))
        met.wait(20)  # breaks unless three are at work

    monkeypatch.setattr(model, "_captioner", lambda _: SimpleNamespace(caption=caption))
    monkeypatch.setattr(model.runtime, "lanes", 3)
    assert model.captioner().frames > 0
    assert calls == [2] * (3 + 3 * 20)
    assert model.rounds * 5 >= 3 * 20 * 2
