"""A precision's name and a device in, the context of the forward pass out: torch.amp, the successor of Apex's amp."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Amp = Literal["auto", "bf16", "fp32"]


def autocast(amp: Amp, device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision in bf16, or full precision; `auto` is bf16 where the device has it in hardware.

    bf16 has fp32's range: gradients need no scaling, and the weights stay in fp32.
    """
    enabled = amp == "bf16" or (amp == "auto" and _has_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
