"""The model card beside the shipped bundle says what its bundle.json says."""

from __future__ import annotations

from framecap.captioning.bundle import open_bundle
from train.export.model_card import model_card


def test_the_shipped_card_is_made_from_its_bundle() -> None:
    bundle = open_bundle("default")
    assert (bundle.path / "README.md").read_text(encoding="utf-8") == model_card(bundle.card)
    assert bundle.hash in model_card(bundle.card)
    assert str(bundle.card.scores["flickr8k val, beam 5"]["cider_d"]) in model_card(bundle.card)
