"""Which marks a machine and a model are held to."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from framecap.bench.figures import Figure
from framecap.bench.parts import Size
from framecap.bench.targets import Targets
from framecap.bench.throughput import reported
from framecap.captioning.bundle import open_bundle


def test_an_int8_encoder_is_not_held_to_the_naive_loops_captions(tiny_bundle: Path) -> None:
    exact = open_bundle(str(tiny_bundle)).card
    small = exact.model_copy(update={"training": {"quantised": {"photos": 512}}})
    for card, same in ((exact, 1.0), (exact.model_copy(update={"name": "default"}), 1.0)):
        found = Targets.of(2, False, card, "onnxruntime", 5).same
        assert found is not None
        assert found.value == same
    assert Targets.of(2, False, small, "onnxruntime", 5).same is None
    default = Targets.of(2, False, small.model_copy(update={"name": "default"}), "onnxruntime", 5)
    assert default.same is None
    assert default.end_to_end is not None


def test_half_precision_is_asked_for_more_speed(tiny_bundle: Path) -> None:
    card = open_bundle(str(tiny_bundle)).card
    card = card.model_copy(update={"encoder": card.encoder.model_copy(update={"name": "resnext101_32x8d"})})
    marks = {runtime: Targets.of(2, False, card, runtime, 5) for runtime in ("torch", "torch-bf16")}
    assert {name: one.naive and one.naive.value for name, one in marks.items()} == {"torch": 3, "torch-bf16": 4}
    assert marks["torch-bf16"].same is None


def test_a_run_too_short_is_not_judged() -> None:
    assert [size.enough for size in (Size(), Size(frames=499), Size(runs=2), Size(frames=9000, runs=9))] == [
        True,
        False,
        False,
        True,
    ]
    assert set(astuple(Targets.none())) == {None}


def test_less_cpu_time_than_none_is_not_reported() -> None:
    assert reported(Figure("cpu", "its CPU time", values=(3.0, 0.0))).values == (3.0, 0.0)
    short = reported(Figure("cpu", "its CPU time", values=(3.0, -0.1)))
    assert (short.values, short.note) == ((), "too few frames to tell")
