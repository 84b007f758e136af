"""Where the model looked: by the model that wrote the caption, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, StoreConfig, WorkerConfig
from framecap.errors import StoreUnavailable
from framecap.sidecars.sidecar import Model, Sidecar
from framecap.stores import open_store
from framecap.viewer import attention
from framecap.viewer.attention import Attention, NoAttention, where
from tests.viewer.served import captioned_frame, commit, key_of, put_frame, until


@pytest.fixture
def model(tiny_bundle: Path) -> CaptioningConfig:
    return CaptioningConfig(bundle=str(tiny_bundle), runtime="onnx")


@pytest.fixture
def looking(frames: Path, model: CaptioningConfig) -> Iterator[Attention]:
    one = Attention(open_store(StoreConfig(frames=str(frames))), model, WorkerConfig())
    yield one
    one.close()


def captioned(frames: Path, model: CaptioningConfig, **changes: object) -> Sidecar:
    """A frame and the sidecar that this model writes, but for its caption."""
    key = key_of("door", 0)
    put_frame(frames, key)
    name = load_captioner(model).model
    return commit(
        frames, key, "Words.", model=Model(name=name.name, bundle=name.bundle_hash, runtime=name.runtime), **changes
    )


def test_each_word_has_a_map_that_sums_to_one(looking: Attention, frames: Path, model: CaptioningConfig) -> None:
    answer = looking.of(captioned(frames, model))
    assert answer["words"]
    for word in answer["words"]:
        assert np.sum(word["map"]) == pytest.approx(1, abs=1e-3)
        assert 0 < word["probability"] <= 1
    assert answer["caption"]
    assert not answer["same"]
    assert looking.of(captioned(frames, model)) is answer  # it is not computed twice


def test_another_model_s_attention_is_not_shown(looking: Attention, frames: Path) -> None:
    captioned_frame(frames, "door", 1, "A dog.")
    made = commit(frames, key_of("door", 1), "A dog.", model=Model(name="other", bundle="1" * 64, runtime="x"))
    with pytest.raises(NoAttention, match=r"another model wrote this caption: other .* --bundle"):
        looking.of(made)


def test_an_image_that_was_replaced_is_not_looked_at(looking: Attention, frames: Path, model: CaptioningConfig) -> None:
    made = captioned(frames, model)
    frame = made.frame.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(NoAttention, match="has been replaced"):
        looking.of(made.model_copy(update={"frame": frame}))


def test_a_duplicate_was_not_looked_at(looking: Attention, frames: Path, model: CaptioningConfig) -> None:
    made = captioned(frames, model, status="duplicate", duplicate_of=key_of("door", 5))
    with pytest.raises(NoAttention, match="that of an earlier one"):
        looking.of(made)


def test_a_bundle_that_does_not_load_is_reported(frames: Path) -> None:
    one = Attention(
        open_store(StoreConfig(frames=str(frames))), CaptioningConfig(bundle=str(frames / "gone")), WorkerConfig()
    )
    made = commit(frames, key_of("door", 0), "A dog.")
    with pytest.raises(NoAttention, match="does not load here"):
        one.of(made)


def test_only_a_few_may_wait(looking: Attention, frames: Path, model: CaptioningConfig) -> None:
    made = captioned(frames, model)
    with looking._one_at_a_time:  # somebody else's turn, for long
        threads = [threading.Thread(target=looking.of, args=(made,)) for _ in range(attention.MAX_WAITING)]
        for thread in threads:
            thread.start()
        until(lambda: looking._capacity._value == 0)
        with pytest.raises(StoreUnavailable, match="busy"):
            looking.of(made)
    for thread in threads:
        thread.join()
    assert looking.of(made)["words"]


@pytest.mark.parametrize(
    ("address", "words"),
    [((0, 0), "upper left"), ((6, 6), "lower right"), ((3, 3), "centre"), ((3, 0), "left"), ((0, 3), "upper"), (None, "")],
)
def test_where_it_looked_in_words(address: tuple[int, int] | None, words: str) -> None:
    even = np.full((7, 7), 0.5 / 49 if address else 1 / 49, np.float32)
    if address:
        even[address] += 0.5
    assert where(even) == (words or "everywhere alike")
