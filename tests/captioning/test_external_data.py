"""Which files an ONNX graph takes its numbers from, and that a bundle takes them from its own listed files only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.captioning.bundle import open_bundle
from framecap.captioning.external_data import external_locations
from framecap.errors import BundleError


def external(location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def in_initializer(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return onnx.GraphProto(initializer=[tensor])


def in_attribute(tensor: onnx.TensorProto) -> onnx.GraphProto:
    node = onnx.NodeProto(op_type="Constant", attribute=[onnx.AttributeProto(name="value", t=tensor)])
    return onnx.GraphProto(node=[node])


def in_subgraph(tensor: onnx.TensorProto) -> onnx.GraphProto:
    node = onnx.NodeProto(op_type="If", attribute=[onnx.AttributeProto(name="then_branch", g=in_attribute(tensor))])
    return onnx.GraphProto(node=[node])


def in_sparse_initializer(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return onnx.GraphProto(sparse_initializer=[onnx.SparseTensorProto(values=tensor)])


@pytest.mark.parametrize("build_graph", [in_initializer, in_attribute, in_subgraph, in_sparse_initializer])
def test_external_data_is_found_wherever_a_graph_may_hold_it(
    build_graph: Callable[[onnx.TensorProto], onnx.GraphProto],
) -> None:
    model = onnx.ModelProto(ir_version=8, graph=build_graph(external("other.bin")))
    assert external_locations(model.SerializeToString()) == {"other.bin"}


def test_external_data_of_a_function_is_found() -> None:
    function = onnx.FunctionProto(name="f", node=in_attribute(external("other.bin")).node)
    assert external_locations(onnx.ModelProto(ir_version=8, functions=[function]).SerializeToString()) == {"other.bin"}


@given(st.binary(max_size=300))
def test_any_bytes_have_locations_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        assert isinstance(external_locations(data), set)


@pytest.mark.parametrize("location", ["other.bin", "../other.bin", "/other.bin"])
def test_bundle_that_uses_an_unlisted_file_is_refused(tiny_bundle: Path, tmp_path: Path, location: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    graph = onnx.load(str(folder / "encoder.onnx"), load_external_data=False)
    graph.graph.initializer.append(external(location))
    _write(folder, "encoder.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match=r"which bundle\.json does not name"):
        open_bundle(str(folder))


def _write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    card = json.loads((folder / "bundle.json").read_text())
    card["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(card))
