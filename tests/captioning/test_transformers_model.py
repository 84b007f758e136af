"""Models of the Hugging Face hub: captioned like any other, and what would run code or change under us is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from framecap.captioning.caption import Caption, Images
from framecap.captioning.load import load_captioner
from framecap.captioning.transformers_model import TransformersCaptioner
from framecap.config import CaptioningConfig, TransformersConfig
from framecap.errors import BundleError, ConfigError
from tests import hub_models
from tests.worker.fakes import check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

MAX_WORDS = 5
SAVERS = (hub_models.save_blip, hub_models.save_git, hub_models.save_vit_gpt2)


def config_of(folder: Path | str, **changes: object) -> CaptioningConfig:
    found = {"beam": 3, "max_words": MAX_WORDS, "alternatives": 1, **changes}
    return CaptioningConfig.model_validate({"kind": "transformers", "transformers": {"model": str(folder)}, **found})


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_models.save_blip(tmp_path_factory.mktemp("blip"))


def image_files(count: int) -> list[Images]:
    """Of different sizes, with their own proportions."""
    chance = np.random.default_rng(1)
    return [chance.integers(0, 255, (40 + 8 * n, 64, 3)).astype(np.uint8) for n in range(count)]


def captions_of(found: Sequence[Caption | Exception]) -> list[Caption]:
    captions = [caption for caption in found if isinstance(caption, Caption)]
    assert len(captions) == len(found)
    return captions


@pytest.mark.parametrize("save", SAVERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("beam", [1, 3])
def test_each_kind_captions(save: Callable[[Path], Path], beam: int, tmp_path: Path) -> None:
    captioner = load_captioner(config_of(save(tmp_path), beam=beam))
    assert (captioner.image_size, captioner.square_input, captioner.model.runtime) == (
        2 * hub_models.SIDE,
        False,
        "transformers",
    )
    together = captions_of(captioner.caption(image_files(4)))
    for caption, image in zip(together, image_files(4), strict=True):
        assert caption.words
        assert "<" not in caption.text, "no special tokens"
        assert len(caption.words) == len(caption.log_probabilities)
        assert caption.confidence is not None
        assert 0 < caption.confidence <= 1
        assert max(caption.log_probabilities) <= 0
        if len(caption.words) == 2 * MAX_WORDS:  # as many as it may say: all are words, and none is the end
            assert caption.truncated
            mean = sum(caption.log_probabilities) / len(caption.words)
            assert caption.confidence == pytest.approx(math.exp(mean), rel=1e-4)
        (alone,) = captions_of(captioner.caption([image]))
        assert alone.text == caption.text, "a caption does not depend on its batch"
        assert alone.confidence == pytest.approx(caption.confidence, rel=1e-4)


def test_a_worker_commits_what_it_says(blip: Path, tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n}.jpg": encoded(scene(60, 40, seed=n)) for n in range(5)})
    captioner = load_captioner(config_of(blip))
    done = work(local_store(tmp_path), captioner)
    made = check_oracle(tmp_path, done.committed)
    assert {one.status for one in made.values()} == {"captioned"}
    assert {one.model.bundle for one in made.values() if one.model} == {captioner.model.bundle_hash}


def test_the_hash_stands_for_the_folder_s_files(blip: Path, tmp_path: Path) -> None:
    before = load_captioner(config_of(blip)).model
    assert before == load_captioner(config_of(blip)).model
    other = hub_models.save_git(tmp_path)
    assert load_captioner(config_of(other)).model.bundle_hash != before.bundle_hash


def test_a_pickle_is_refused(blip: Path, tmp_path: Path) -> None:
    for path in blip.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"cannot be loaded: .*safetensors"):
        load_captioner(config_of(tmp_path))


def test_code_that_comes_with_a_model_is_refused(blip: Path, tmp_path: Path) -> None:
    for path in blip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    sentinel = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(sentinel)!r}, 'w').close()\nclass Own: ...\n")
    config = '{"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"}}'
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BundleError, match="cannot be loaded"):
        load_captioner(config_of(tmp_path))
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (TransformersConfig(), "name a folder"),
        (TransformersConfig(model="somebody/blip"), "is no folder here, .* pin it to a commit"),
    ],
)
def test_what_is_not_pinned_is_refused(settings: TransformersConfig, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TransformersCaptioner(CaptioningConfig(kind="transformers", transformers=settings))
