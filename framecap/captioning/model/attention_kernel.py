"""The attention's scores as one GPU kernel in Triton; importing this module needs Triton, calling it a C compiler."""
# ruff: noqa: N803, PLR0913, PLR0917 - a kernel has many arguments; the capital ones are constants in it

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOCATIONS = 16  # of a program: with 512 numbers for each they fit into its registers


# Triton reads annotations as its own types: no others may stand here.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    keys,
    query,
    weight,
    scores,
    locations,
    stride,
    BEAMS: tl.constexpr,
    WIDTH: tl.constexpr,
    SIDE: tl.constexpr,
    LOCATIONS: tl.constexpr,
):
    frame = tl.program_id(0).to(tl.int64)
    location = tl.program_id(1) * LOCATIONS + tl.arange(0, LOCATIONS)
    number = tl.arange(0, SIDE)
    inside = (location[:, None] < locations) & (number[None, :] < WIDTH)
    seen = tl.load(keys + (frame * locations + location[:, None]) * WIDTH + number[None, :], mask=inside, other=0.0)
    weights = tl.load(weight + number, mask=number < WIDTH, other=0.0).to(tl.float32)
    for beam in range(BEAMS):
        asked = tl.load(query + (frame * BEAMS + beam) * stride + number, mask=number < WIDTH, other=0.0)
        found = tl.sum(tl.maximum(seen, asked[None, :]).to(tl.float32) * weights[None, :], axis=1)
        tl.store(
            scores + (frame * BEAMS + beam) * locations + location,
            found.to(scores.dtype.element_ty),
            mask=location < locations,
        )


def fused_scores(keys: Tensor, negated_query: Tensor, weight: Tensor) -> Tensor:
    """See `attention.plain_scores`."""
    frames, locations, width = keys.shape
    beams = negated_query.shape[1]
    out = torch.empty(frames, beams, locations, device=keys.device, dtype=keys.dtype)
    sizes = {"BEAMS": beams, "WIDTH": width, "SIDE": triton.next_power_of_2(width), "LOCATIONS": _LOCATIONS}
    _kernel[frames, triton.cdiv(locations, _LOCATIONS)](
        keys, negated_query, weight, out, locations, negated_query.stride(1), **sizes
    )
    return out
