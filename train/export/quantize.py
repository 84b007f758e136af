"""A bundle and photos in, the same bundle in int8 for ONNX Runtime out: encoder here, decoder in quantize_decoder.py.

Static quantisation: weights per output channel, activations per tensor, with the ranges that they have on photos. Ranges
that are measured beforehand keep a frame's caption independent of its batch, as ranges of each batch would not.
Weights have 7 bits (`reduce_range`): CPUs with AVX2 and without VNNI add two products of 8 bits in 16, which overflows.

The int8 numbers stand in the graphs themselves. `model.safetensors` stays as it is: on a GPU, PyTorch goes on with the
weights that were trained.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from framecap.captioning.bundle import ENCODER, PARTS, Bundle, PreprocessingCard, file_hash, open_bundle
from framecap.errors import ConfigError
from train.data.dataset import Split
from train.export.bundle import need_name, staged, write_card
from train.export.graphs import forget_the_machine
from train.export.quantize_decoder import WEIGHT_BITS, quantize_decoder

BATCH = 16  # photos
LOOKED_AT = 4  # one photo of so many shows what the decoder takes, at each of its steps


class CalibrationPhotos(CalibrationDataReader):  # type: ignore[misc]
    """The photos of a split that are spread evenly over it, as the encoder takes them."""

    def __init__(self, split: Split, count: int) -> None:
        self._batches = self._read(split, count)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)

    @staticmethod
    def _read(split: Split, count: int) -> Iterator[dict[str, Any]]:
        for start in np.linspace(0, len(split) - BATCH, max(1, count // BATCH)).astype(int).tolist():
            yield {"images": split.read_images(start, start + BATCH)}


def quantize(bundle: Bundle, split: Split, photos: int, out: Path, name: str) -> Bundle:
    """Write the int8 bundle to `out`, ranges by `photos` of the split at most.

    Raises ConfigError for photos that do not fit, and for a bundle in int8.
    """
    need_name(name)
    if "quantised" in bundle.card.training:
        raise ConfigError(f"{bundle.path}: it is in int8 already: name the bundle that it was made from")
    side, wanted = split.file.shape.size, bundle.card.preprocessing.size
    if side != wanted:
        raise ConfigError(f"{split.images}: its images are {side} pixels wide, the bundle {bundle.card.name} takes {wanted}")
    photos = min(photos, len(split))
    if photos < BATCH:
        raise ConfigError(f"{photos} photos are too few to measure ranges on: give {BATCH} or more")
    with staged(out) as unfinished:
        for part in PARTS:
            shutil.copyfile(bundle.path / part, unfinished / part)
        _quantize_encoder(unfinished / ENCODER, CalibrationPhotos(split, photos), bundle.card.preprocessing)
        quantize_decoder(unfinished, bundle, (batch["images"] for batch in CalibrationPhotos(split, photos // LOOKED_AT)))
        kind = f"int8, {WEIGHT_BITS} bits per channel"
        about = {"encoder": kind, "decoder": f"{kind}, but for its first step", "photos": photos, "from": bundle.hash}
        card = bundle.card.model_copy(
            update={
                "name": name,
                "calibration": None,  # confidences and scores are the other numbers'
                "scores": {},
                "training": {**bundle.card.training, "quantised": about},
                "files": {part: file_hash(unfinished / part) for part in PARTS},
            }
        )
        write_card(unfinished, card)
    return open_bundle(str(out))


def _quantize_encoder(encoder: Path, photos: CalibrationPhotos, preprocessing: PreprocessingCard) -> None:
    folded, pixels = _folded(encoder), _pixels(preprocessing)
    normalised = _normalisation(folded.graph)[-1].output[0]
    with tempfile.TemporaryDirectory() as folder:
        quantised = Path(folder) / ENCODER
        quantize_static(
            folded,
            quantised,
            photos,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],  # not the last projections: they cost little time
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": {normalised: [pixels]} if pixels else {}},
        )
        model = onnx.load(quantised)
    if pixels:
        _take_pixels_as_they_are(model.graph, normalised)
    forget_the_machine(model)
    onnx.save(model, encoder)


def _folded(graph: Path) -> onnx.ModelProto:
    """The graph with its weights, in fp32: without casts, and normalisation layers merged into the convolutions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(graph.with_name("folded.onnx"))  # here, beside the weights that it refers to
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    model = onnx.load(graph.with_name("folded.onnx"))
    graph.with_name("folded.onnx").unlink()
    inferred = onnx.shape_inference.infer_shapes(model)
    add_pre_process_metadata(inferred)  # that it is done, or the quantiser asks for it
    return inferred


def _normalisation(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """What happens to the pixels before the first convolution: (x - mean) / std, channels first."""
    users = {name: node for node in reversed(graph.node) for name in node.input}
    chain = [users["images"]]
    while chain[-1].op_type != "Conv":
        chain.append(users[chain[-1].output[0]])
    return chain[:-1]


def _pixels(preprocessing: PreprocessingCard) -> dict[str, Any] | None:
    """The scale and the zero point by which the pixels are their own int8 form; None where channels differ."""
    (mean, *means), (std, *stds) = preprocessing.mean, preprocessing.std
    if any(other != mean for other in means) or any(other != std for other in stds) or mean != round(mean):
        return None
    return {"scale": np.array(1 / std, np.float32), "zero_point": np.array(mean, np.uint8)}


def _take_pixels_as_they_are(graph: onnx.GraphProto, normalised: str) -> None:
    """With that scale, normalising and quantising are the identity on pixels: leave both out."""
    (quantised,) = (node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == normalised)
    maker = {node.output[0]: node for node in graph.node}
    graph.node.remove(quantised)
    skipped = normalised
    while maker[skipped].op_type != "Transpose":
        graph.node.remove(maker[skipped])
        skipped = maker[skipped].input[0]
    maker[skipped].output[0] = quantised.output[0]
