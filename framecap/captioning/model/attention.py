"""A device in, the best way to score the places that the attention may look at there, out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Scores = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain_scores(keys: Tensor, negated_query: Tensor, weight: Tensor) -> Tensor:
    """keys (frames, locations, width), negated_query (frames, beams, width), weight (width,) → (frames, beams,
    locations)."""
    return torch.matmul(torch.maximum(keys[:, None], negated_query[:, :, None]), weight)


def best_scores(device: torch.device, precision: torch.dtype) -> Scores:
    """`plain_scores`, or on a GPU one kernel that does not write (frames, beams, locations, width) numbers to memory.

    Triton makes it when it is first used, for which it needs a C compiler: where that fails, the plain one does.
    """
    if device.type != "cuda":
        return plain_scores
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from framecap.captioning.model.attention_kernel import fused_scores
        keys, query, weight = (torch.ones(shape, device=device).to(precision) for shape in ((2, 3, 32), (2, 5, 32), (32,)))
        fused_scores(keys, query, weight)
    except Exception as error:  # no Triton, no compiler, a GPU that it does not know: each fails in its own way
        reason = str(error).partition("\n")[0][:200]
        logger.warning(
            "the attention runs in plain PyTorch, about a tenth slower: Triton made no kernel for it (%s): it needs a C "
            "compiler (apt-get install gcc libc6-dev) and, in a container, a /tmp to run programs from (--tmpfs /tmp:exec)",
            reason,
        )
        return plain_scores
    return fused_scores
