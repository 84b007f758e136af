"""explain: the attention where the decoder looked, in the image's own aspect, from both runtimes; clear errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from framecap.captioning.bundle import open_bundle
from framecap.captioning.caption import Caption, Images, ModelName
from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, WorkerConfig
from framecap.errors import ModelError, OversizedFrame
from tests.tiny import draw_image
from train.__main__ import main
from train.evaluation.explain import DETAIL, Explanation, explain, figure_of

LIMITS = WorkerConfig()


class Looker:
    """A captioner that looks at the top left for its first word, everywhere for its second, at the right for its third."""

    model = ModelName("looker", "0" * 64, "test")
    image_size = 64

    def __init__(self) -> None:
        self.attention = np.full((3, 4, 4), 1 / 16, np.float32)
        self.attention[0] = np.eye(4, dtype=np.float32)[0] * np.eye(4, dtype=np.float32)[:, :1]
        self.attention[2] = np.array([0, 0, 0, 0.25], np.float32)

    def caption(self, images: Images) -> Sequence[Caption | Exception]:
        assert images.shape == (1, 64, 64, 3)
        output = ("costs", "$5", "or$")
        return [Caption("Costs $5 or$.", 0.5, output, (-0.1, -2.0, -1.0), attention=self.attention)]


class Blind(Looker):
    def caption(self, images: Images) -> Sequence[Caption | Exception]:
        return [Caption("A picture.", 1.0, ("a", "image"), (0.0, 0.0))]


class Broken(Looker):
    def caption(self, images: Images) -> Sequence[Caption | Exception]:
        return [ModelError("the model gave NaN for this image")]


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A grey image, four times as wide as high."""
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.full((100, 400, 3), 200, np.uint8))
    return path


def panels(explained: Explanation) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array(), float) for axis in figure_of(explained).axes if axis.images]


def test_each_word_is_lit_where_it_looked_in_the_images_own_aspect(wide: Path) -> None:
    shown, first, second, third = panels(explain(wide, Looker(), LIMITS))
    assert {panel.shape for panel in (shown, first, second, third)} == {(DETAIL // 4, DETAIL, 3)}
    assert (shown == 200).all()
    height, width = shown.shape[:2]
    left, right = slice(0, width // 8), slice(-width // 8, None)
    assert first[: height // 8, left].mean() > 180
    assert first[: height // 8, right].mean() < 50
    assert first[-height // 8 :, left].mean() < 50
    assert second.std() < 1  # an even share everywhere: half light
    assert 90 < second.mean() < 150
    assert third[:, right].mean() > 180
    assert third[:, left].mean() < 50


def test_titles_are_the_words_and_a_dollar_is_no_formula(wide: Path) -> None:
    explained = explain(wide, Looker(), LIMITS)
    figure = figure_of(explained)
    assert [axis.get_title() for axis in figure.axes][:4] == ["the image", "costs  0.90", "$5  0.14", "or$  0.37"]
    assert figure.get_suptitle() == "Costs $5 or$. (confidence 0.50)"
    dollars = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert len(dollars) == 3
    assert not any(text.get_parse_math() for text in dollars)


def test_a_rotated_photo_is_shown_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: stored lying, shown standing."""
    path = tmp_path / "turned.jpg"
    _, encoded = cv2.imencode(".jpg", np.zeros((40, 80, 3), np.uint8))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = encoded.tobytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert explain(path, Looker(), LIMITS).pixels.shape == (DETAIL, DETAIL // 2, 3)


def test_both_runtimes_look_at_the_same_addresses(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), draw_image("red", "ball")[..., ::-1])
    onnx, torch = (
        explain(path, load_captioner(CaptioningConfig(bundle=str(tiny_bundle), runtime=runtime)), LIMITS).caption
        for runtime in ("onnx", "torch")
    )
    assert onnx.words == torch.words
    assert onnx.attention is not None
    assert torch.attention is not None
    assert onnx.attention.shape == (len(onnx.words), 3, 3)
    np.testing.assert_allclose(onnx.attention.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(onnx.attention, torch.attention, atol=1e-4)


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".pdf", ".svg"])
def test_the_command_makes_the_kind_of_file_that_its_name_says(
    tiny_bundle: Path, wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    out = tmp_path / f"attention{suffix}"
    assert main(["explain", str(wide), "-o", str(out), "--bundle", str(tiny_bundle)]) == 0
    begins = {".png": b"\x89PNG", ".JPG": b"\xff\xd8", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert out.read_bytes().startswith(begins[suffix])
    assert str(out) in capsys.readouterr().out


def test_the_model_in_the_box_gives_its_attention(clip: Path, tmp_path: Path) -> None:
    video = cv2.VideoCapture(str(clip))
    _, frame = video.read()
    video.release()
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), frame)
    caption = explain(path, load_captioner(CaptioningConfig(runtime="onnx")), LIMITS).caption
    assert caption.attention is not None
    assert caption.attention.shape == (len(caption.words), *open_bundle("default").card.places)


@pytest.mark.parametrize(
    ("content", "out", "code", "output"),
    [
        (None, "a.png", 2, "frame.jpg: cannot be read (No such file or directory)"),
        (b"<html>", "a.png", 1, "frame.jpg: not a JPEG, PNG or WebP image"),
        (b"\xff\xd8", "a.png", 1, "frame.jpg: "),
        (b"", "a.png", 1, "frame.jpg: "),
        (b"<html>", "a.gif", 2, "a.gif: its name must end in .png"),
        (b"<html>", "nowhere/a.png", 2, "there is no folder"),
    ],
)
def test_wrong_use_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, out: str, code: int, output: str
) -> None:
    path = tmp_path / "frame.jpg"
    if content is not None:
        path.write_bytes(content)
    assert main(["explain", str(path), "-o", str(tmp_path / out)]) == code
    error = capsys.readouterr().err
    assert output in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("a.*"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "/dev/zero", "-o", str(tmp_path / "a.png")]) == 2
    assert main(["explain", str(tmp_path), "-o", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.count("not a file") == 2


def test_without_matplotlib_it_is_reported_how_to_get_it(
    wide: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "train.evaluation.explain")
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    assert main(["explain", str(wide)]) == 3
    assert "the package matplotlib is not installed: pip install 'framecap[train]'" in capsys.readouterr().err


def test_limits_are_those_of_the_worker(wide: Path) -> None:
    for limits in (WorkerConfig(max_pixels=1000), WorkerConfig(max_bytes=10)):
        with pytest.raises(OversizedFrame, match=r"wide.png: .*worker\.max_"):
            explain(wide, Looker(), limits)


def test_a_captioner_without_attention_or_with_nan_is_an_error(wide: Path) -> None:
    with pytest.raises(ModelError, match="the runtime test gives no attention"):
        explain(wide, Blind(), LIMITS)
    with pytest.raises(ModelError, match=r"wide\.png: the model gave NaN"):
        explain(wide, Broken(), LIMITS)
