"""The attention's scores as one GPU kernel in Triton; importing this module needs Triton, calling it a C compiler."""
# ruff: noqa: N803, PLR0913, PLR0917 - a kernel has many arguments; the capital ones are constants in it

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_PLACES = 16  # of a program: with 512 numbers for each they fit into its registers


# Triton reads annotations as its own types: no others may stand here.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    keys,
    query,
    weight,
    scores,
    places,
    stride,
    BEAMS: tl.constexpr,
    WIDTH: tl.constexpr,
    SIDE: tl.constexpr,
    PLACES: tl.constexpr,
):
    frame = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * PLACES + tl.arange(0, PLACES)
    number = tl.arange(0, SIDE)
    inside = (place[:, None] < places) & (number[None, :] < WIDTH)
    seen = tl.load(keys + (frame * places + place[:, None]) * WIDTH + number[None, :], mask=inside, other=0.0)
    weights = tl.load(weight + number, mask=number < WIDTH, other=0.0).to(tl.float32)
    for beam in range(BEAMS):
        asked = tl.load(query + (frame * BEAMS + beam) * stride + number, mask=number < WIDTH, other=0.0)
        found = tl.sum(tl.maximum(seen, asked[None, :]).to(tl.float32) * weights[None, :], axis=1)
        tl.store(scores + (frame * BEAMS + beam) * places + place, found.to(scores.dtype.element_ty), mask=place < places)


def fused_scores(keys: Tensor, negated_query: Tensor, weight: Tensor) -> Tensor:
    """See `attention.plain_scores`."""
    frames, places, width = keys.shape
    beams = negated_query.shape[1]
    out = torch.empty(frames, beams, places, device=keys.device, dtype=keys.dtype)
    sizes = {"BEAMS": beams, "WIDTH": width, "SIDE": triton.next_power_of_2(width), "PLACES": _PLACES}
    _kernel[frames, triton.cdiv(places, _PLACES)](keys, negated_query, weight, out, places, negated_query.stride(1), **sizes)
    return out
