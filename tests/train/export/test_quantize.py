"""quantize: an int8 encoder that sees nearly what the one it was made from sees, for ONNX Runtime alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from framecap.captioning.bundle import DECODER, ENCODER, PARTS, Bundle, open_bundle
from framecap.captioning.caption import Images
from framecap.captioning.load import load_captioner
from framecap.captioning.model.encoder import IMAGENET_MEAN, IMAGENET_STD
from framecap.captioning.runtimes.onnx import OnnxRuntime
from framecap.config import CaptioningConfig
from framecap.errors import ConfigError
from tests.tiny import COLOURS, SHAPES, draw_image, make_bundle
from train.__main__ import main
from train.data.dataset import DataFolder
from train.export.quantize import BATCH, quantize

PHOTOS = 2 * BATCH


@pytest.fixture(scope="module")
def images() -> Images:
    return np.stack([draw_image(colour, shape, seed) for colour in COLOURS for shape in SHAPES for seed in range(2)])


@pytest.fixture(scope="module")
def small(tiny_bundle: Path, folder: DataFolder, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with its encoder in int8."""
    out = tmp_path_factory.mktemp("int8") / "bundle"
    return quantize(open_bundle(str(tiny_bundle)), folder.split("TRAIN"), PHOTOS, out, "tiny-int8")


def seen(bundle: Bundle, images: Images) -> np.ndarray:
    """What the encoder gives the decoder to look at."""
    values: np.ndarray = OnnxRuntime(bundle, 1).encode(images).memory["values"]
    return values


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of how images differ: what a random encoder gives is nearly the same for all of them."""
    one, other = (values - values.mean(axis=0) for values in (one, other))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_it_sees_nearly_the_same(small: Bundle, tiny_bundle: Path, images: Images) -> None:
    assert likeness(seen(small, images), seen(open_bundle(str(tiny_bundle)), images)) > 0.9


def test_the_graph_computes_in_seven_bits_on_pixels_as_they_are(small: Bundle) -> None:
    graph = onnx.load(small.path / ENCODER).graph
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert max(abs(int(values.max())) for values in weights) == 64
    assert max(abs(int(values.min())) for values in weights) <= 64
    assert not {"Sub", "BatchNormalization"} & {node.op_type for node in graph.node}
    maker = {node.output[0]: node.op_type for node in graph.node}
    assert {maker[name] for node in graph.node if node.op_type == "Conv" for name in node.input[:2]} == {"DequantizeLinear"}


def test_a_caption_does_not_depend_on_its_batch(small: Bundle, images: Images) -> None:
    model = load_captioner(CaptioningConfig(bundle=str(small.path), runtime="onnx"))
    together = model.caption(images)
    assert together == [model.caption(one[None])[0] for one in images]


def test_pytorch_goes_on_with_the_weights_as_they_are(small: Bundle, tiny_bundle: Path, images: Images) -> None:
    bundles = (str(small.path), str(tiny_bundle))
    one, other = (load_captioner(CaptioningConfig(bundle=path, runtime="torch")).caption(images) for path in bundles)
    assert one == other


def test_its_card_says_so_and_claims_no_scores(small: Bundle, tiny_bundle: Path) -> None:
    source = open_bundle(str(tiny_bundle))
    assert small.card.training["quantised"]["from"] == source.hash
    assert small.card.scores == {}
    assert small.card.calibration is None
    assert small.hash != source.hash
    assert {part for part in PARTS if small.card.files[part] != source.card.files[part]} == {ENCODER, DECODER}


def test_channels_with_statistics_of_their_own(folder: DataFolder, images: Images, tmp_path: Path) -> None:
    other = open_bundle(str(make_bundle(tmp_path / "other", IMAGENET_MEAN, IMAGENET_STD)))
    small = quantize(other, folder.split("TRAIN"), PHOTOS, tmp_path / "int8", "int8")
    assert likeness(seen(small, images), seen(other, images)) > 0.9


def test_the_command_and_its_refusals(
    small: Bundle, tiny_bundle: Path, folder: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, output in (
        (["--bundle", str(small.path)], "it is in int8 already"),
        (["--bundle", "default"], "it is in int8 already"),
        (["--bundle", str(tiny_bundle), "--photos", "9"], "9 photos are too few"),
        (["--bundle", str(tiny_bundle), "--name", "a/b"], "give it another one with --name"),
    ):
        code = main(["quantize", "--data", str(folder.path), "--out", str(tmp_path / "out"), *arguments])
        assert code == ConfigError.exit_code
        assert output in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
