"""An encoder's backbone in, one that gives the same maps with less work out; for inference only.

Normalisation is folded into the convolutions before it, and a convolution does the addition and the ReLU that follow it
where the library can (cuDNN). A backbone that torch.fx cannot follow stays as it is.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ADDITIONS = (operator.add, operator.iadd, torch.add)


def fold(backbone: nn.Module) -> nn.Module:
    """A copy in eval mode, of the same dtype, on the same device: (n, 3, h, w) → (n, width, rows, columns)."""
    backbone = copy.deepcopy(backbone).eval()
    try:
        graph = _Tracer().trace(backbone)
    except Exception:  # control flow that depends on values: each model fails in its own way
        return backbone
    traced = fx.GraphModule(backbone, graph)
    _fold_normalisation(traced)
    _fuse_activations(traced)
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return traced


class _Tracer(fx.Tracer):
    """Convolutions and normalisations stay whole, those of timm too (they subclass torch's)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


class ConvReLU(nn.Module):
    """relu(convolution + bias), or with a second input relu(convolution + bias + other)."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, inputs: Tensor, other: Tensor | None = None) -> Tensor:
        of = self.convolution
        if not inputs.is_cuda:
            outputs: Tensor = of(inputs)
            return functional.relu_(outputs if other is None else outputs.add_(other))
        assert not isinstance(of.padding, str)
        if other is None:
            return torch.cudnn_convolution_relu(inputs, of.weight, of.bias, of.stride, of.padding, of.dilation, of.groups)
        return torch.cudnn_convolution_add_relu(
            inputs, of.weight, other, 1.0, of.bias, of.stride, of.padding, of.dilation, of.groups
        )


def _fold_normalisation(traced: fx.GraphModule) -> None:
    modules = dict(traced.named_modules())
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if not isinstance(convolution, nn.Conv2d) or len(before.users) > 1 or calls[before.target] > 1:
            continue
        traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
        after = _activation(norm)
        if after is None:
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
        else:
            traced.set_submodule(str(node.target), after)


def _activation(norm: nn.BatchNorm2d) -> nn.Module | None:
    """timm's normalisation layers bring their activation."""
    activation = getattr(norm, "act", None)
    return None if activation is None or isinstance(activation, nn.Identity) else activation


def _fuse_activations(traced: fx.GraphModule) -> None:
    modules = dict(traced.named_modules())

    def convolution(node: object) -> nn.Conv2d | None:
        """The plain convolution whose output goes nowhere else."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) > 1:
            return None
        found = modules.get(str(node.target))
        plain = type(found) is nn.Conv2d and found.padding_mode == "zeros" and not isinstance(found.padding, str)
        return found if plain else None

    for node in list(traced.graph.nodes):
        if node.op != "call_module" or type(modules.get(str(node.target))) is not nn.ReLU:
            continue
        before = node.args[0]
        if before.target in _ADDITIONS and len(before.users) == 1:
            left, right = before.args
            last, other = (left, right) if convolution(left) else (right, left)
        else:
            last, other = before, None
        found = convolution(last)
        if found is None:
            continue
        if other is not None and list(traced.graph.nodes).index(other) > list(traced.graph.nodes).index(last):
            _move_after(traced.graph, other, last)
        traced.set_submodule(str(last.target), ConvReLU(found))
        if other is not None:
            last.args = (*last.args, other)
            before.replace_all_uses_with(last)
        node.replace_all_uses_with(last)
        traced.graph.erase_node(node)
        if other is not None:
            traced.graph.erase_node(before)


def _move_after(graph: fx.Graph, first: fx.Node, second: fx.Node) -> None:
    """`second` reads `first` now, so it must come later."""
    first.append(second)
