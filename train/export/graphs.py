"""An encoder and a decoder in, the two ONNX graphs of a bundle out; their weights stay in the bundle's safetensors file.

`encoder.onnx` does everything that is done once a frame; `decoder.onnx` is one step of every sentence of a beam search:

    encoder.onnx   images (frames, size, size, 3) uint8 → values, keys, hidden, cell
    decoder.onnx   values, keys, hidden, cell, rows (frames, beams), words (frames, beams), candidates (1,)
                   → log_probabilities, numbers (frames, beams, candidates), attention (frames, beams, locations), hidden,
                   cell

`rows` says which row of hidden and cell (frames * beams of the step before) each sentence continues.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from framecap.captioning.model.decoder import AttentionDecoder, DecoderState, EncoderMemory
from framecap.captioning.model.encoder import Encoder

EXAMPLE = {"frames": 2, "beams": 3}  # sizes of the traced example; all of them stay free in the graphs


class _EncoderGraph(nn.Module):
    def __init__(self, encoder: Encoder, decoder: AttentionDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        memory, state = self.decoder.begin(self.encoder(images))
        return *memory, *state


class _DecoderGraph(nn.Module):
    output: Tensor

    def __init__(self, decoder: AttentionDecoder, suppressed: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        output = torch.zeros(decoder.shape.words)
        output[list(suppressed)] = -torch.inf
        self.register_buffer("output", output)

    def forward(
        self, values: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor, rows: Tensor, words: Tensor
    ) -> tuple[Tensor, ...]:
        width = hidden.shape[2]  # reshape and embedding trace to one node each
        state = DecoderState(*(functional.embedding(rows, part.reshape(-1, width)) for part in (hidden, cell)))
        spoken = self.decoder.spoken(self.decoder.embedding.weight)  # of every word; folded when the graph is loaded
        state, attention = self.decoder.go_on(EncoderMemory(values, keys), state, functional.embedding(words, spoken))
        return self.decoder.logits(state.hidden).log_softmax(dim=2) + self.output, attention, *state


def write_graphs(encoder: Encoder, decoder: AttentionDecoder, suppressed: tuple[int, ...], folder: Path) -> None:
    """Write model.safetensors (matrices and kernels in fp16, vectors in fp32), encoder.onnx and decoder.onnx."""
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items() if value.is_floating_point()}
    state |= {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    weights = {name: (value.half() if value.ndim > 1 else value.float()).contiguous() for name, value in state.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes files for their owner only
    locations = offsets(folder / "model.safetensors")
    for name, graph in (("encoder", _encoder_graph(encoder, decoder)), ("decoder", _decoder_graph(decoder, suppressed))):
        _refer_to_weights(graph, weights, locations)
        forget_the_machine(graph)
        onnx.save(graph, folder / f"{name}.onnx")


def forget_the_machine(model: onnx.ModelProto) -> None:
    """Without the exporter's stack traces, which name folders of the machine, the same weights give the same graph."""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor lies in a safetensors file: first byte and length (format: huggingface.co/docs/safetensors)."""
    import json

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: (8 + length + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _encoder_graph(encoder: Encoder, decoder: AttentionDecoder) -> onnx.ModelProto:
    images = torch.zeros(EXAMPLE["frames"], encoder.size, encoder.size, 3, dtype=torch.uint8)
    return _export(
        _EncoderGraph(encoder, decoder),
        {"images": images},
        {"images": {0: "frames"}},
        ["values", "keys", "hidden", "cell"],
    )


def _decoder_graph(decoder: AttentionDecoder, suppressed: tuple[int, ...]) -> onnx.ModelProto:
    shape, (frames, beams) = decoder.shape, EXAMPLE.values()
    width = shape.memory or shape.features
    state = torch.zeros(frames, beams, shape.hidden)
    inputs = {
        "values": torch.zeros(frames, 7, width),
        "keys": torch.zeros(frames, 7, shape.attention),
        "hidden": state,
        "cell": state.clone(),
        "rows": torch.zeros(frames, beams + 1, dtype=torch.long),
        "words": torch.zeros(frames, beams + 1, dtype=torch.long),
    }
    free = {
        "values": {0: "frames", 1: "places"},
        "keys": {0: "frames", 1: "places"},
        "hidden": {0: "frames", 1: "beams_before"},
        "cell": {0: "frames", 1: "beams_before"},
        "rows": {0: "frames", 1: "beams"},
        "words": {0: "frames", 1: "beams"},
    }
    graph = _export(
        _DecoderGraph(decoder, suppressed),
        inputs,
        free,
        ["all_log_probabilities", "attention", "hidden_after", "cell_after"],
    )
    return _keep_the_best(graph)


def _export(
    module: nn.Module, inputs: Mapping[str, Tensor], free: Mapping[str, Mapping[int, str]], outputs: list[str]
) -> onnx.ModelProto:
    dimensions = {name: torch.export.Dim(name) for names in free.values() for name in names.values()}
    shapes = {key: {axis: dimensions[name] for axis, name in axes.items()} for key, axes in free.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its own deprecations
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(inputs),
            dynamo=True,
            optimize=False,  # it would fold weights into nameless constants, stored twice
            verbose=False,
            external_data=False,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=outputs,
        )
    assert program is not None
    return _simplified(program.model_proto, {name for name, _ in module.named_parameters()} | _statistics(module))


def _statistics(module: nn.Module) -> set[str]:
    """Names of the normalisation layers' buffers: they are weights, too."""
    return {name for name, _ in module.named_buffers() if name.endswith(("running_mean", "running_var"))}


def _simplified(model: onnx.ModelProto, weights: set[str]) -> onnx.ModelProto:
    """The graph without the exporter's clutter. Weights count as inputs meanwhile: what is not known cannot be folded."""
    kept = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in weights}
    others = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    inputs = list(model.graph.input)
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in kept.values())
    simple: onnx.ModelProto = onnxscript.optimizer.optimize(model)
    del simple.graph.input[:]
    simple.graph.input.extend(inputs)
    simple.graph.initializer.extend(kept.values())
    return simple


def _keep_the_best(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give only the best `candidates` words of each sentence, not the whole vocabulary's log-probabilities."""
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("candidates", TensorProto.INT64, [1]))
    graph.node.append(
        helper.make_node("TopK", ["all_log_probabilities", "candidates"], ["log_probabilities", "numbers"], axis=-1)
    )
    shape = ["frames", "beams", "kept"]
    del graph.output[0]
    graph.output.insert(0, helper.make_tensor_value_info("log_probabilities", TensorProto.FLOAT, shape))
    graph.output.insert(1, helper.make_tensor_value_info("numbers", TensorProto.INT64, shape))
    return model


def _refer_to_weights(
    model: onnx.ModelProto, weights: Mapping[str, Tensor], locations: Mapping[str, tuple[int, int]]
) -> None:
    """Let every weight of the graph point into model.safetensors; fp16 ones get a Cast, which folds when it is loaded."""
    casts: list[Any] = []
    for tensor in model.graph.initializer:
        if tensor.name not in weights:
            continue
        name = tensor.name
        half = weights[name].dtype == torch.float16
        if half:
            tensor.name, tensor.data_type = f"{name}.fp16", TensorProto.FLOAT16
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        offset, length = locations[name]
        for key, value in (("location", "model.safetensors"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    del model.graph.value_info[:]
