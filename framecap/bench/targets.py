"""What is measured, and on what machine, in; the marks that the figures are to reach there out."""

from __future__ import annotations

from dataclasses import dataclass

from framecap.bench.figures import Target
from framecap.captioning.bundle import BundleCard


def at_least(value: float) -> Target:
    return Target("at least", value)


def at_most(value: float) -> Target:
    return Target("at most", value)


_ALL_SAME, _NEARLY_ALL_SAME = at_least(1.0), at_least(0.98)
_READY, _HELP = at_most(2.0), at_most(0.2)
_INSTALLED, _SCAN_MEMORY = at_most(400.0), at_most(300.0)


@dataclass(frozen=True, slots=True)
class Targets:
    """The marks of a machine and a model; None where none was set for such a case.

    They were set for 640x480 JPEGs and beam 5: for the default bundle and for ResNeXt101_32x8d on two CPU cores, and for any
    bundle on one GPU.
    """

    end_to_end: Target | None = None  # frames a second
    added: Target | None = None  # CPU-milliseconds a frame that the pipeline adds to the captioner's own
    naive: Target | None = None  # times the naive loop
    captioner: Target | None = None  # part of the encoder's speed
    gpu_busy: Target | None = None  # part of a saturated run
    same: Target | None = _ALL_SAME  # part of the captions that are the naive loop's
    ready: Target | None = _READY  # seconds
    help: Target | None = _HELP  # seconds
    installed: Target | None = _INSTALLED  # MB
    scan_memory: Target | None = _SCAN_MEMORY  # MB, with a million finished frames

    @classmethod
    def none(cls) -> Targets:
        """For a run too short to be judged."""
        return cls(same=None, ready=None, help=None, installed=None, scan_memory=None)

    @classmethod
    def of(cls, cores: int, on_gpu: bool, card: BundleCard, runtime: str, beam: int) -> Targets:
        """`card`: the bundle's; `runtime`: its name, as sidecars have it.

        What captions of an int8 encoder, or on a CPU of bf16, are worth, scores say, not whether they are the same.
        """
        if beam != 5:
            return cls()
        if on_gpu:
            return cls(naive=at_least(50), captioner=at_least(0.7), gpu_busy=at_least(0.9), same=_NEARLY_ALL_SAME)
        rounded = "quantised" in card.training or runtime == "torch-bf16"
        same = None if rounded else _ALL_SAME
        if cores == 2 and card.name == "default":
            return cls(end_to_end=at_least(80), added=at_most(5), naive=at_least(8), same=same)
        if cores == 2 and card.encoder.name == "resnext101_32x8d":
            return cls(naive=at_least(4 if runtime == "torch-bf16" else 3), same=same)
        return cls(same=same)
