"""A bundle and its runtime's name in, the operations that its encoder takes for one image out.

Counted are convolutions and matrix products, a multiplication and an addition as two operations; what else there is hardly
counts. Of an ONNX graph they are counted from the shapes that ONNX Runtime's own profile states, so that nothing but ONNX
Runtime is needed; of PyTorch modules by PyTorch's counter, as they were trained: of cuDNN's fused convolutions, which a GPU
runs instead, it counts none.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from framecap.captioning.bundle import ENCODER, Bundle

_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # and which input holds the weights
_PRODUCTS = {"MatMul": 0, "FusedMatMul": 0, "Gemm": 0, "MatMulInteger": 0, "QLinearMatMul": 0}  # and which the left side

Shape = list[int]


def encoder_operations(bundle: Bundle, runtime: str) -> float:
    """For one image, in the runtime of that name."""
    return _torch_operations(bundle) if runtime.startswith("torch") else _onnx_operations(bundle)


def _torch_operations(bundle: Bundle) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from framecap.captioning.runtimes.pytorch import load_modules

    encoder, decoder = load_modules(bundle)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder.begin(encoder(torch.from_numpy(_grey(bundle))))
    return float(counter.get_total_flops())


def _onnx_operations(bundle: Bundle) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the shapes as they were exported
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="framecap-bench-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(bundle.path / ENCODER, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: _grey(bundle)})
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return sum(operations_of(event["args"]) for event in events if event.get("cat") == "Node" and "args" in event)


def operations_of(node: dict[str, Any]) -> float:
    """Of one node of a profile: 0 for what is neither a convolution nor a matrix product."""
    kind = node.get("op_name", "")
    inputs, outputs = (_shapes(node.get(f"{side}_type_shape", [])) for side in ("input", "output"))
    if not outputs:
        return 0.0
    if kind in _CONVOLUTIONS:
        _, *kernel = inputs[_CONVOLUTIONS[kind]]  # channels of a group, then rows and columns
        return 2.0 * math.prod(outputs[0]) * math.prod(kernel)
    if kind in _PRODUCTS:
        return 2.0 * math.prod(outputs[0]) * inputs[_PRODUCTS[kind]][-1]
    return 0.0


def _shapes(described: list[dict[str, Shape]]) -> list[Shape]:
    """[{"float": [1, 3, 224, 224]}, ...] → their shapes."""
    return [next(iter(one.values())) for one in described]


def _grey(bundle: Bundle) -> Any:
    size = bundle.card.preprocessing.size
    return np.full((1, size, size, 3), 127, np.uint8)
