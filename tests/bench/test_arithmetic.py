"""The encoder's operations: those of known layers, and the same by both runtimes' ways of counting."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.bench.arithmetic import encoder_operations, operations_of
from framecap.captioning.bundle import open_bundle


def node(kind: str, inputs: list[list[int]], output: list[int]) -> dict[str, object]:
    def shapes(given: list[list[int]]) -> list[dict[str, list[int]]]:
        return [{"float": shape} for shape in given]

    return {"op_name": kind, "input_type_shape": shapes(inputs), "output_type_shape": shapes([output])}


def test_known_layers() -> None:
    assert operations_of(node("Conv", [[1, 3, 8, 8], [16, 3, 3, 3], [16]], [1, 16, 8, 8])) == 2 * 16 * 64 * 27
    assert operations_of(node("Conv", [[1, 16, 8, 8], [16, 1, 5, 5]], [1, 16, 4, 4])) == 2 * 16 * 16 * 25  # depthwise
    assert operations_of(node("MatMul", [[1, 49, 1280], [1280, 512]], [1, 49, 512])) == 2 * 49 * 512 * 1280
    assert operations_of(node("Gemm", [[4, 32], [32, 8], [8]], [4, 8])) == 2 * 4 * 8 * 32
    assert operations_of(node("Relu", [[1, 3]], [1, 3])) == 0
    assert operations_of({"op_name": "Conv"}) == 0


def test_both_runtimes_count_the_same(tiny_bundle: Path) -> None:
    bundle = open_bundle(str(tiny_bundle))
    onnx, torch, on_a_gpu = (encoder_operations(bundle, runtime) for runtime in ("onnxruntime", "torch", "torch-fp16"))
    assert onnx == pytest.approx(torch, rel=0.02)
    assert onnx > 1e6
    assert on_a_gpu == torch
