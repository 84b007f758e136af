"""A decoder's graph and photos in, the same graph with its large matrix products in int8 out.

What is multiplied by a constant matrix has a fixed range, so that a frame's caption does not depend on its batch: an LSTM's
hidden state lies between -1 and 1 by its formula, what the decoder looks at is measured on photos. Only the state that the
encoder gives has no bounds: the first step, the one that follows `<start>`, multiplies it in fp32. Scoring the places and
ranking the words stay in fp32, too: there are no large matrices in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from framecap.captioning.beam import BeamSettings
from framecap.captioning.bundle import DECODER, Bundle
from framecap.captioning.caption import Images
from framecap.captioning.runtimes.onnx import OnnxRuntime
from train.export.graphs import forget_the_machine

WEIGHT_BITS = 7  # CPUs with AVX2 and without VNNI add two products of 8 bits in 16, which overflows
_MOST = 2 ** (WEIGHT_BITS - 1) - 1
_ZERO, _HALF = 128, 127  # of activations, in unsigned bytes
_SETTINGS = BeamSettings()

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Product:
    """A node that multiplies by a constant matrix (in, out); `begins`: what it takes has no bounds at the first step."""

    node: onnx.NodeProto
    weight: Array
    begins: bool

    @property
    def taken(self) -> str:
        return str(self.node.input[0])

    @property
    def made(self) -> str:
        return str(self.node.output[0])


def quantize_decoder(folder: Path, bundle: Bundle, photos: Iterable[Images]) -> None:
    """Replace the decoder graph in `folder`, where its weights lie; `bundle` is the one that it was copied from."""
    graph_file = folder / DECODER
    model = onnx.load(graph_file, load_external_data=False)
    products = _products(model, graph_file)
    hidden = {product.taken for product in products if product.begins} | {model.graph.output[3].name}
    ranges = dict.fromkeys(hidden, 1.0)
    measured = sorted({product.taken for product in products} - ranges.keys())
    ranges |= zip(measured, _largest(measured, folder, bundle, photos), strict=True)
    _rewrite(model.graph, products, ranges, bundle.vocabulary.start)
    forget_the_machine(model)
    onnx.save(model, graph_file)
    onnx.checker.check_model(graph_file)


def _products(model: onnx.ModelProto, path: Path) -> list[_Product]:
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    inputs = {value.name for value in graph.input}

    def is_constant(name: str) -> bool:
        return name not in inputs and (name not in maker or all(map(is_constant, maker[name].input)))

    def is_state(name: str) -> bool:
        """Rows of the hidden state, as the step before, or the encoder, has left it."""
        node = maker.get(name)
        return node is not None and node.op_type == "Gather" and node.input[1] == "rows"

    found = [node for node in graph.node if node.op_type == "MatMul" and is_constant(node.input[1])]
    weights = _evaluated(path, [node.input[1] for node in found])
    return [
        _Product(node, weight, is_state(node.input[0]))
        for node, weight in zip(found, weights, strict=True)
        if weight.ndim == 2 and min(weight.shape) > 1
    ]


def _evaluated(path: Path, names: Sequence[str]) -> list[Array]:
    """Constants that the graph computes of its weights."""
    part = Extractor(onnx.shape_inference.infer_shapes(onnx.load(path))).extract_model([], list(names))
    values: list[Array] = onnxruntime.InferenceSession(part.SerializeToString()).run(None, {})
    return values


def _largest(names: Sequence[str], folder: Path, bundle: Bundle, photos: Iterable[Images]) -> list[float]:
    """Of each named value the largest number of a step, in the median: what is beyond is rare, and cut off."""
    watched = onnx.load(folder / DECODER, load_external_data=False)
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    file = folder / "watched.onnx"  # here, beside the weights that it refers to
    onnx.save(watched, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    file.unlink()
    found: list[list[float]] = []

    class Watched:
        def run(self, _: None, inputs: dict[str, Array]) -> list[Array]:
            outputs: list[Array] = session.run(None, inputs)
            found.append([float(np.abs(values).max()) for values in outputs[-len(names) :]])
            return outputs[: -len(names)]

    runtime = OnnxRuntime(bundle, 0)
    runtime.decoder = Watched()
    for images in photos:
        runtime.describe(images, bundle.vocabulary.end, _SETTINGS)
    return [float(value) for value in np.median(found, axis=0)]


def _rewrite(graph: onnx.GraphProto, products: Sequence[_Product], ranges: dict[str, float], start: int) -> None:
    """Replace the products, and leave out what only they used."""
    by_name = {product.made: product for product in products}
    begins = [product for product in products if product.begins]
    nodes: list[onnx.NodeProto] = []
    scales = {name: f"{name}_scale" for name in ranges}
    graph.initializer.extend(_constant(scales[name], np.float32(most / _HALF)) for name, most in ranges.items())
    graph.initializer.append(_constant("zero", np.uint8(_ZERO)))
    for node in _weights_first(graph, begins):
        product = by_name.get(node.output[0])
        if product is None:
            nodes.append(node)
        elif not product.begins:
            small, weights = _in_int8(product, scales[product.taken])
            nodes += small
            graph.initializer.extend(weights)
        elif product is begins[0]:
            nodes += _by_the_first_word(graph, begins, scales, start)
    del graph.node[:]
    graph.node.extend(_used(nodes, [value.name for value in graph.output]))
    needed = {name for node in graph.node for name in _taken(node)}
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _weights_first(graph: onnx.GraphProto, products: Sequence[_Product]) -> list[onnx.NodeProto]:
    """In an order in which all of these products can be computed where the first one is."""
    weights = {product.node.input[1] for product in products}
    return sorted(graph.node, key=lambda node: node.op_type != "Cast" and node.output[0] not in weights)


def _in_int8(product: _Product, scale: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Quantise, and multiply what is dequantised: ONNX Runtime makes one integer product of it."""
    name = product.made
    steps = np.maximum(np.abs(product.weight).max(axis=0), np.finfo(np.float32).tiny) / _MOST
    small = np.round(product.weight / steps).astype(np.int8)
    weights = [
        _constant(f"{name}_weight", small),
        _constant(f"{name}_steps", steps.astype(np.float32)),
        _constant(f"{name}_zeros", np.zeros(len(steps), np.int8)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", [product.taken, scale, "zero"], [f"{name}_taken_small"]),
        helper.make_node("DequantizeLinear", [f"{name}_taken_small", scale, "zero"], [f"{name}_taken"]),
        helper.make_node("DequantizeLinear", [tensor.name for tensor in weights], [f"{name}_matrix"], axis=1),
        helper.make_node("MatMul", [f"{name}_taken", f"{name}_matrix"], [name]),
    ]
    return nodes, weights


def _by_the_first_word(
    graph: onnx.GraphProto, products: Sequence[_Product], scales: dict[str, str], start: int
) -> list[onnx.NodeProto]:
    """All frames of a batch are at the same step: one word, `<start>` or another, says which."""
    graph.initializer.extend([_constant("start", np.int64(start)), _constant("first", np.array([0], np.int64))])
    graph.initializer.append(_constant("flat", np.array([-1], np.int64)))
    exact, small, weights = [], [], []
    for product in products:
        exact.append(helper.make_node("MatMul", list(product.node.input), [product.made]))
        some, own = _in_int8(product, scales[product.taken])
        small += some
        weights += own
    made = [helper.make_tensor_value_info(product.made, TensorProto.FLOAT, None) for product in products]
    return [
        helper.make_node("Reshape", ["words", "flat"], ["all_words"]),
        helper.make_node("Gather", ["all_words", "first"], ["first_word"], axis=0),
        helper.make_node("Equal", ["first_word", "start"], ["begins"]),
        helper.make_node(
            "If",
            ["begins"],
            [product.made for product in products],
            then_branch=helper.make_graph(exact, "exact", [], made),
            else_branch=helper.make_graph(small, "small", [], made, weights),
        ),
    ]


def _used(nodes: Sequence[onnx.NodeProto], wanted: Sequence[str]) -> list[onnx.NodeProto]:
    needed = set(wanted)
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(_taken(node))
            kept.append(node)
    return kept[::-1]


def _taken(node: onnx.NodeProto) -> list[str]:
    """What a node needs, and the graphs in it."""
    inner = [part for attribute in node.attribute for part in attribute.g.node]
    return [*node.input, *(name for part in inner for name in _taken(part))]


def _constant(name: str, value: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)
