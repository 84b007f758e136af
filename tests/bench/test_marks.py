"""Which marks a machine and a model are held to."""

from __future__ import annotations

from pathlib import Path

from framecap.bench.marks import Marks
from framecap.captioning.bundle import open_bundle


def test_an_int8_encoder_is_not_held_to_the_naive_loops_captions(tiny_bundle: Path) -> None:
    exact = open_bundle(str(tiny_bundle)).card
    small = exact.model_copy(update={"training": {"quantised": {"photos": 512}}})
    for card, same in ((exact, 1.0), (exact.model_copy(update={"name": "default"}), 1.0)):
        found = Marks.of(2, False, card, 5).same
        assert found is not None
        assert found.value == same
    assert Marks.of(2, False, small, 5).same is None
    default = Marks.of(2, False, small.model_copy(update={"name": "default"}), 5)
    assert default.same is None
    assert default.end_to_end is not None
