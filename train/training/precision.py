"""A precision's name and a device in; the forward pass's context, the optimizer and the update of the weights out.

bf16 has fp32's range, so gradients need no scaling; fp16's small gradients vanish, so the loss is scaled up (GradScaler).
The weights stay in fp32 in both. `torch.amp` is the successor of Apex's amp, which NVIDIA removed in 2025: `apex` takes what
the installed Apex has, its fused optimizer and, in older versions, its amp.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from framecap.errors import MissingError

Amp = Literal["auto", "bf16", "fp16", "fp32", "apex"]
Groups = list[dict[str, Any]]  # parameters with their weight decay and learning rate

BETAS = (0.9, 0.98)
_WHERE_APEX_COMES_READY = (
    "NVIDIA's PyTorch container has it ready (nvcr.io/nvidia/pytorch, see deploy/), or build it from "
    "github.com/NVIDIA/apex; without it, train.amp: auto is as good"
)


class Precision:
    """Mixed precision by torch.amp, or full precision."""

    def __init__(self, amp: Literal["bf16", "fp16", "fp32"], device: torch.device) -> None:
        self.name: str = amp
        self._device = device
        self._type = torch.float16 if amp == "fp16" else torch.bfloat16
        self._enabled = amp != "fp32"
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def optimizer(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=BETAS)

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What is to be trained, before anything is wrapped around it."""
        return model, optimizer

    def forward(self) -> AbstractContextManager[None]:
        """The context in which the model runs forward."""
        return torch.autocast(self._device.type, self._type, enabled=self._enabled)

    def update(self, loss: Tensor, optimizer: torch.optim.Optimizer, clip_norm: float) -> float:
        """Backward, clip, one step; the gradient's norm before it was clipped (fp16: a step that overflows is skipped)."""
        optimizer.zero_grad()  # as it is: today's Apex takes no set_to_none
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(optimizer)
        norm = _clip([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        return norm

    def state(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        self._scaler.load_state_dict(state)


class ApexPrecision(Precision):
    """NVIDIA Apex: its fused Adam, with torch.amp around the forward pass."""

    def __init__(self, amp: Literal["bf16", "fp16", "fp32"], device: torch.device, fused_adam: Any) -> None:
        super().__init__(amp, device)
        self.name = f"apex's FusedAdam, {amp}"
        self._fused_adam = fused_adam

    def optimizer(self, groups: Groups) -> torch.optim.Optimizer:
        try:
            optimizer: torch.optim.Optimizer = self._fused_adam(groups, betas=BETAS, adam_w_mode=True)
        except RuntimeError as error:  # Apex without its CUDA extensions says so only here
            raise MissingError(f"train.amp: apex: {error}: {_WHERE_APEX_COMES_READY}") from None
        return optimizer


class OldApexPrecision(ApexPrecision):
    """NVIDIA Apex of before 2025: its amp, too (level O1: what gains by it runs in fp16, the loss is scaled)."""

    def __init__(self, device: torch.device, fused_adam: Any, amp: ModuleType) -> None:
        super().__init__("fp32", device, fused_adam)
        self.name = "apex.amp O1, apex's FusedAdam"
        self._amp = amp

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        prepared: tuple[nn.Module, torch.optim.Optimizer] = self._amp.initialize(
            model, optimizer, opt_level="O1", verbosity=0
        )
        return prepared

    def forward(self) -> AbstractContextManager[None]:
        return nullcontext()

    def update(self, loss: Tensor, optimizer: torch.optim.Optimizer, clip_norm: float) -> float:
        optimizer.zero_grad()
        with self._amp.scale_loss(loss, optimizer) as scaled:
            scaled.backward()
        norm = _clip(list(self._amp.master_params(optimizer)), clip_norm)
        optimizer.step()
        return norm

    def state(self) -> dict[str, Any]:
        return dict(self._amp.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        self._amp.load_state_dict(state)


def choose(amp: Amp, device: torch.device) -> Precision:
    """The precision of that name; `auto` is bf16 in hardware, else fp16 on a GPU, else fp32.

    Raises MissingError for `apex` where NVIDIA's Apex is not installed.
    """
    if amp == "apex":
        return _apex(device)
    return Precision(_automatic(device) if amp == "auto" else amp, device)


def _automatic(device: torch.device) -> Literal["bf16", "fp16", "fp32"]:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older PyTorch cannot say
    return "bf16" if capabilities.get("avx512_bf16", False) else "fp32"


def _apex(device: torch.device) -> Precision:
    fused_adam = _module("optimizers").FusedAdam
    if _has("amp"):
        return OldApexPrecision(device, fused_adam, _module("amp"))
    return ApexPrecision(_automatic(device), device, fused_adam)


def _has(part: str) -> bool:
    """Whether the installed apex has this part; nothing is imported to find out: PyPI's apex is a stranger's code."""
    spec = find_spec("apex")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return any((Path(folder) / part).is_dir() or (Path(folder) / f"{part}.py").is_file() for folder in folders)


def _module(part: str) -> ModuleType:
    spec = find_spec("apex")
    if spec is None:
        raise MissingError(f"train.amp: apex: NVIDIA Apex is not installed: {_WHERE_APEX_COMES_READY}")
    if not _has("optimizers"):
        raise MissingError(
            f"train.amp: apex: {spec.origin} is not NVIDIA's Apex (PyPI's `apex` is an unrelated web toolkit): "
            f"pip uninstall apex; {_WHERE_APEX_COMES_READY}"
        )
    try:
        return import_module(f"apex.{part}")
    except ImportError as error:
        raise MissingError(f"train.amp: apex: it is installed but broken ({error}): {_WHERE_APEX_COMES_READY}") from None


def _clip(parameters: list[Tensor], clip_norm: float) -> float:
    return float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm))
