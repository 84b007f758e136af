"""The files that an ONNX graph takes numbers from, read from the graph's own bytes without the onnx package.

ONNX is protobuf: fields of a number, a wire type and a value. Only messages that can hold a tensor are entered. A field
that stands twice is read twice, so no reader can see a tensor that this one misses.
Source: onnx/onnx.proto3 and the Protocol Buffers encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

# Message: {field number: message of that field}; the rest is skipped.
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_KEY, _VALUE = 1, 2  # of an Entry
_MAX_DEPTH = 100  # protobuf's own limit of nested messages
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3 and 4) are in no ONNX message


def external_files(graph: bytes) -> frozenset[str]:
    """The locations that the graph's tensors name, as they are written. Raises ValueError for what is no protobuf."""
    return frozenset(_locations(memoryview(graph), "Model", 0))


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    below = _SCHEMA[kind]
    for number, value in _fields(message):
        if number not in below:
            continue
        if below[number] == "Entry":
            yield from _location(value)
        else:
            yield from _locations(value, below[number], depth + 1)


def _location(entry: memoryview) -> Iterator[str]:
    fields = list(_fields(entry))
    if any(number == _KEY and bytes(value) == b"location" for number, value in fields):
        yield from (bytes(value).decode("utf-8", "backslashreplace") for number, value in fields if number == _VALUE)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and value of each field that holds bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag >= 1 << 32:  # other readers cut it to 32 bits, and would see another field
            raise ValueError("a field number that is too large")
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, position = _varint(message, position)
            continue
        if wire not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError(f"a field of wire type {wire}")
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire, 0)
        if wire == _BYTES:
            length, position = _varint(message, position)
        end = position + length
        if end > len(message):
            raise ValueError("it breaks off")
        if wire == _BYTES:
            yield number, message[position:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of up to ten bytes, the lowest seven bits first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it breaks off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")
