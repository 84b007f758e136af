"""Where bundles go: nothing of a person's is replaced, and a disk that is full leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.errors import ConfigError, StoreUnavailable
from tests.train.synthetic import CONFIG, plain_model
from tests.train.training.test_model import no_file_longer_than
from train.data.dataset import DataFolder
from train.export.bundle import export


def test_an_address_that_is_no_bundles_is_left_alone(folder: DataFolder, tmp_path: Path) -> None:
    model = plain_model(CONFIG, folder)
    (tmp_path / "file").touch()
    for address, names in (("frames", ["a.jpg"]), ("repository", ["bundle.json", ".git"])):
        for name in names:
            (tmp_path / address / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for address, output in (
        ("file", "holds other things than a bundle"),
        ("frames", "holds other things than a bundle"),
        ("repository", "holds other things than a bundle"),
        ("file/below", "no folder can be made there"),
    ):
        with pytest.raises(ConfigError, match=output):
            export(tmp_path / address, "mine", model.encoder, model.decoder, model.vocabulary, {})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "../x", "mein bündel", "a" * 65, "a\n"])
def test_a_name_that_no_sidecar_may_carry_is_reported_before_the_work(folder: DataFolder, tmp_path: Path, name: str) -> None:
    model = plain_model(CONFIG, folder)
    with pytest.raises(ConfigError, match="give it another one with --name"):
        export(tmp_path / "mine", name, model.encoder, model.decoder, model.vocabulary, {})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_and_leaves_nothing(folder: DataFolder, tmp_path: Path) -> None:
    model = plain_model(CONFIG, folder)
    for limit in (10, 1000):  # the vocabulary, the weights
        with no_file_longer_than(limit), pytest.raises(StoreUnavailable, match=r"mine: cannot be written .*File too large"):
            export(tmp_path / "mine", "mine", model.encoder, model.decoder, model.vocabulary, {})
        assert not list(tmp_path.iterdir())
