"""An int8 decoder: its first step as it was, the others nearly, and only the large matrices in int8."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from framecap.captioning.bundle import DECODER, Bundle, open_bundle
from framecap.captioning.runtimes.onnx import OnnxRuntime
from tests.tiny import COLOURS, SHAPES, draw_image
from train.export.quantize_decoder import quantize_decoder

MOST = 63  # of a weight of seven bits
IMAGES = np.stack([draw_image(colour, shape) for colour in COLOURS for shape in SHAPES])


@pytest.fixture(scope="module")
def exact(tiny_bundle: Path) -> Bundle:
    return open_bundle(str(tiny_bundle))


@pytest.fixture(scope="module")
def small(exact: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "bundle"
    shutil.copytree(exact.path, folder)
    quantize_decoder(folder, exact, [IMAGES])
    return folder


@pytest.fixture
def runtimes(exact: Bundle, small: Path) -> tuple[OnnxRuntime, OnnxRuntime]:
    from onnxruntime import InferenceSession

    one, other = OnnxRuntime(exact, 1), OnnxRuntime(exact, 1)
    other.decoder = InferenceSession(small / DECODER, providers=["CPUExecutionProvider"])
    return one, other


def test_every_step_says_nearly_the_same(runtimes: tuple[OnnxRuntime, OnnxRuntime]) -> None:
    decoders = [runtime.encode(IMAGES) for runtime in runtimes]
    parents, words = None, None
    likeness: list[float] = []
    for _ in range(5):
        (output, numbers, looked), (other_reported, other_numbers, other_looked) = (
            decoder.step(parents, words, runtimes[0].words) for decoder in decoders
        )
        by_word = [
            np.exp(np.take_along_axis(values, np.argsort(order), axis=2))
            for values, order in ((output, numbers), (other_reported, other_numbers))
        ]
        both = (by_word, (looked, other_looked), [decoder.hidden for decoder in decoders])
        likeness += [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in both]
        parents = np.zeros((len(IMAGES), 3), np.int64) if words is None else np.arange(3)[None, :].repeat(len(IMAGES), 0)
        words = numbers[:, 0, 1:4] if words is None else numbers[:, :, 0]
    assert np.mean(likeness) > 0.95  # a random model is sharp: single numbers may differ


def test_a_state_without_bounds_is_multiplied_as_it_is(runtimes: tuple[OnnxRuntime, OnnxRuntime]) -> None:
    """What the encoder gives may be larger than a hidden state ever is afterwards."""
    decoders = [runtime.encode(IMAGES) for runtime in runtimes]
    for decoder in decoders:
        decoder.seen = decoder.seen._replace(hidden=decoder.seen.hidden * 50)
        decoder.step(None, None, 5)
    np.testing.assert_allclose(decoders[1].hidden, decoders[0].hidden, atol=0.02)


def test_only_large_matrices_are_in_int8(small: Path, exact: Bundle) -> None:
    model = onnx.load(small / DECODER, load_external_data=False)
    (choice,) = (node for node in model.graph.node if node.op_type == "If")
    branches = {attribute.name: attribute.g for attribute in choice.attribute}
    tensors = [*model.graph.initializer, *branches["else_branch"].initializer]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors if tensor.name.endswith("_weight")}
    assert {tensor.data_type for tensor in tensors if tensor.name in weights} == {TensorProto.INT8}
    assert len(weights) == 5
    assert max(int(np.abs(values.astype(int)).max()) for values in weights.values()) == MOST
    shape = exact.card.decoder
    outputs = sorted(values.shape for values in weights.values())
    assert outputs.count((shape.hidden, shape.words)) == 1
    assert {node.op_type for node in branches["then_branch"].node} == {"MatMul"}
