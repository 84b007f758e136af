"""Finds the files that an ONNX graph takes its numbers from, without the onnx package: the base install has none.

Source: the wire format of protocol buffers, and onnx.proto (ModelProto.graph = 7; GraphProto.node = 1, initializer = 5,
sparse_initializer = 15; NodeProto.attribute = 5; AttributeProto.t = 5, g = 6, tensors = 10, graphs = 11,
sparse_tensor = 22, sparse_tensors = 23; SparseTensorProto.values = 1, indices = 2; TensorProto.external_data = 13;
StringStringEntryProto.key = 1, value = 2; ModelProto.functions = 25, FunctionProto.node = 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from framecap.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_DEPTH = 100

# What may hold an external tensor: field number -> the message it is.
_TENSOR: Mapping[int, Any] = {13: "entry"}
_SPARSE: Mapping[int, Any] = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE: dict[int, Any] = {5: _TENSOR, 10: _TENSOR, 22: _SPARSE, 23: _SPARSE}
_NODE: Mapping[int, Any] = {5: _ATTRIBUTE}
_GRAPH: Mapping[int, Any] = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_ATTRIBUTE |= {6: _GRAPH, 11: _GRAPH}
_MODEL: Mapping[int, Any] = {7: _GRAPH, 25: {7: _NODE}}


def external_locations(model: bytes) -> set[str]:
    """Return the locations of all external data of a serialized ONNX model, as the graph has them.

    Raises:
        BundleError: the bytes are not an ONNX model.
    """
    try:
        return set(_locations(memoryview(model), _MODEL, 0))
    except (IndexError, ValueError, UnicodeDecodeError):
        raise BundleError("not an ONNX model: export the bundle again") from None


def _locations(message: memoryview, fields: Mapping[int, Any], depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    for number, content in _fields(message):
        below = fields.get(number)
        if below == "entry":
            key, value = _entry(content)
            if key == "location":
                yield value
        elif below is not None:
            yield from _locations(content, below, depth + 1)


def _entry(message: memoryview) -> tuple[str, str]:
    found = {number: bytes(content).decode() for number, content in _fields(message)}
    return found.get(1, ""), found.get(2, "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have a length, by their numbers; the others are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("cut short")
            yield number, message[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
