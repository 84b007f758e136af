"""The files that a graph refers to: found wherever in it they are named, and refused unless bundle.json lists them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from framecap.captioning.bundle import open_bundle
from framecap.captioning.external_data import external_files
from framecap.errors import BundleError


def outside(location: str) -> TensorProto:
    """A tensor whose numbers stand in another file."""
    tensor = helper.make_tensor("far", TensorProto.FLOAT, [1], np.zeros(1, np.float32).tobytes(), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def graph_of(nodes: tuple[onnx.NodeProto, ...] = (), tensors: tuple[TensorProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(nodes, "graph", [], [], tensors)


def in_an_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph_of(tensors=(tensor,)))


def in_a_constant(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph_of((helper.make_node("Constant", [], ["x"], value=tensor),)))


def in_a_branch(tensor: TensorProto) -> onnx.ModelProto:
    branch = graph_of(tensors=(tensor,))
    return helper.make_model(graph_of((helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch),)))


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["x"], value=tensor)
    function = helper.make_function("own", "F", [], ["x"], [node], [helper.make_opsetid("", 20)])
    return helper.make_model(graph_of(), functions=[function])


def in_a_sparse_tensor(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph_of())
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


MODELS = [in_an_initializer, in_a_constant, in_a_branch, in_a_function, in_a_sparse_tensor]


@pytest.mark.parametrize("make", MODELS)
def test_a_location_is_found_wherever_a_graph_can_hold_a_tensor(make: Callable[[TensorProto], onnx.ModelProto]) -> None:
    assert external_files(make(outside("far.bin")).SerializeToString()) == {"far.bin"}


def test_a_graph_that_stands_twice_is_read_twice() -> None:
    """Protobuf merges them: a reader that keeps one of the two misses what the other says."""
    first, second = (in_an_initializer(outside(name)).SerializeToString() for name in ("a.bin", "b.bin"))
    assert external_files(first + second) == {"a.bin", "b.bin"}


def test_a_field_number_that_others_would_cut_is_refused() -> None:
    graph = graph_of(tensors=(outside("far.bin"),)).SerializeToString()
    length = len(graph)
    assert length < 128
    disguised = bytes([0x80 | 7 << 3 | 2, 0x80, 0x80, 0x80, 0x10, length]) + graph
    with pytest.raises(ValueError, match="field number"):
        external_files(disguised)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_none(data: bytes) -> None:
    try:
        found = external_files(data)
    except ValueError:
        return
    assert isinstance(found, frozenset)


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def refer(bundle: Path, location: str) -> None:
    """The encoder's first large tensor stands at `location` from now on, and bundle.json has the graph's new hash."""
    graph = onnx.load(bundle / "encoder.onnx", load_external_data=False)
    graph.graph.initializer.append(outside(location))
    data = graph.SerializeToString()
    (bundle / "encoder.onnx").write_bytes(data)
    card = json.loads((bundle / "bundle.json").read_text())
    card["files"]["encoder.onnx"] = hashlib.sha256(data).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(card))


@pytest.mark.faults(31)
@pytest.mark.parametrize(
    "location",
    ["other.bin", "../other.bin", "/tmp/other.bin", "./model.safetensors", "*/_ORT_MEM_ADDR_/*", "x/../model.safetensors"],
)
def test_only_listed_files_may_be_referred_to(copy: Path, location: str) -> None:
    refer(copy, location)
    with pytest.raises(BundleError, match=r"encoder\.onnx: its numbers stand in .* does not list"):
        open_bundle(str(copy))


@pytest.mark.faults(31)
def test_a_listed_file_may_be_referred_to_unless_it_is_a_symlink(copy: Path, tmp_path: Path) -> None:
    refer(copy, "model.safetensors")
    assert open_bundle(str(copy)).hash
    (copy / "model.safetensors").rename(tmp_path / "far")
    (copy / "model.safetensors").symlink_to(tmp_path / "far")
    with pytest.raises(BundleError, match="symlink"):
        open_bundle(str(copy))


@pytest.mark.faults(31)
def test_a_graph_that_is_none_is_refused(copy: Path) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    (copy / "decoder.onnx").write_bytes(b"\xff" * 20)
    card["files"]["decoder.onnx"] = hashlib.sha256(b"\xff" * 20).hexdigest()
    (copy / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="not an ONNX graph"):
        open_bundle(str(copy))
