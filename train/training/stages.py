"""An encoder and a word in (none, last, all), the parts of it that are trained out."""

from __future__ import annotations

from typing import Literal

from torch import nn

from framecap.captioning.model.encoder import Encoder

FineTune = Literal["none", "last", "all"]


def trained_stages(encoder: Encoder, fine_tune: FineTune) -> list[nn.Module]:
    """The stages to train; `last` is the second half of them: layer2 to layer4 of a ResNet, as in the tutorial.

    Of those it leaves depthwise filters as they are: a twentieth of the weights, a third of a step's time on a CPU.
    """
    stages = _stages(encoder.backbone)
    if fine_tune == "last":
        return [part for stage in stages[len(stages) // 2 :] for part in _without_depthwise(stage)]
    return {"none": [], "all": stages}[fine_tune]


def _without_depthwise(module: nn.Module) -> list[nn.Module]:
    """The parts of the module that have weights of their own and are not depthwise convolutions."""
    parts = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    return [part for part in parts if not (isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1)]


def _stages(backbone: nn.Module) -> list[nn.Module]:
    """The parts that have weights, in the order of the forward pass; lists of blocks count as their blocks."""
    parts: list[nn.Module] = []
    for child in backbone.children():
        if isinstance(backbone, nn.Sequential) or not _is_a_list(child):
            parts.append(child)
        else:
            parts.extend(child.children())
    if len(parts) == 1 and not isinstance(backbone, nn.Sequential):  # a wrapper around the model itself
        return _stages(parts[0])
    return [part for part in parts if any(True for _ in part.parameters())]


def _is_a_list(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList)
