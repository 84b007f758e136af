"""An image and a captioner in, an image out: where the decoder looked for each word of its caption.

The model saw the image resized to a square; here it is shown in its own aspect, with the attention stretched alike. Each
word's panel is lit by its attention on a logarithmic scale that is the same for every image: half light is an even share,
so that a word that looks everywhere alike has a panel without contrast.
"""

from __future__ import annotations

import io
import stat
import textwrap
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from framecap.captioning.caption import Caption, Captioner
from framecap.config import WorkerConfig
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import ConfigError, DecodeError, ModelError, OversizedFrame, SourceNotFound

SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
DETAIL = 640  # pixels of the longer side of a panel's image
OCTAVES = 1.5  # a place is fully lit or dark when it gets 2 ** this times more or less than an even share
DARKEST = 0.18  # part of its light that a dark place keeps
COLUMNS = 4
PANEL, GAP, LINE = 3.0, 0.08, 0.3  # inches: a panel's longer side, between panels, a line of text
NARROWEST, NARROWEST_FIGURE = 1.6, 8.5  # inches: what words and legend need
CHARACTERS_PER_INCH = 8  # of the title
DOTS_PER_INCH = 110
LEGEND = (
    "light: where the decoder looked before it said the word; half light: an even share; the number: the word's probability"
)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Explanation:
    """An image as it is shown, (height, width, 3) RGB, and its caption with the attention."""

    pixels: Pixels
    caption: Caption


def explain(image: Path, captioner: Captioner, limits: WorkerConfig) -> Explanation:
    """Caption the image. Raises SourceNotFound, DecodeError or ModelError."""
    try:
        data = _read(image, limits.max_bytes)
        seen = decode(data, Preprocessing(captioner.image_size), limits.max_pixels).pixels
        shown = decode(data, Preprocessing(DETAIL), limits.max_pixels)
    except DecodeError as error:
        raise type(error)(f"{image}: {error}") from None
    (caption,) = captioner.caption(seen[None])
    if isinstance(caption, Exception):
        raise ModelError(f"{image}: {caption}")
    if caption.attention is None:
        raise ModelError(
            f"the runtime {captioner.model.runtime} gives no attention: name a bundle, and runtime onnx or torch"
        )
    scale = DETAIL / max(shown.width, shown.height)
    width, height = (max(1, round(side * scale)) for side in (shown.width, shown.height))
    return Explanation(
        np.asarray(cv2.resize(shown.pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8), caption
    )


def need_format(path: Path) -> str:
    """The format that a file's name asks for. Raises ConfigError for one that cannot be made."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: its name must end in {', '.join(SUFFIXES)}")
    return path.suffix.lower().removeprefix(".")


def draw(explained: Explanation, file_format: str) -> bytes:
    """A file of this format of `figure_of`."""
    file = io.BytesIO()
    figure_of(explained).savefig(file, format=file_format, dpi=DOTS_PER_INCH)
    return file.getvalue()


def figure_of(explained: Explanation) -> Figure:
    """The image itself and a panel for each word."""
    caption, pixels = explained.caption, explained.pixels
    assert caption.attention is not None
    panels = 1 + len(caption.words)
    columns = min(COLUMNS, panels)
    rows = -(-panels // columns)
    height, width = (PANEL * side / max(pixels.shape[:2]) for side in pixels.shape[:2])
    across = max(columns * (max(width, NARROWEST) + GAP), NARROWEST_FIGURE)
    figure = Figure((across, rows * (height + LINE + GAP) + 2 * LINE), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    title = textwrap.fill(f"{caption.text} (confidence {caption.confidence:.2f})", round(across * CHARACTERS_PER_INCH))
    figure.suptitle(title, fontsize=14, parse_math=False)
    figure.supxlabel(LEGEND, fontsize=9, color="dimgrey")
    _panel(axes[0], pixels, "the image", "dimgrey")
    for axis, word, log_probability, attention in zip(
        axes[1:], caption.words, caption.log_probabilities, caption.attention, strict=False
    ):
        _panel(axis, _lit(pixels, attention), f"{word}  {np.exp(log_probability):.2f}", "black")
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure


def _lit(pixels: Pixels, attention: npt.NDArray[np.float32]) -> Pixels:
    """The image in the light of a word's attention (rows, columns), which is interpolated between its places."""
    height, width = pixels.shape[:2]
    times_even = np.maximum(attention * attention.size, 1e-6)
    known = np.clip((np.log2(times_even) + OCTAVES) / (2 * OCTAVES), 0, 1)  # 0.5 where it looks as much as at an even share
    light = np.clip(cv2.resize(known, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    return np.asarray((grey + (pixels - grey.astype(np.float32)) * light) * (DARKEST + (1 - DARKEST) * light), np.uint8)


def _panel(axis: Axes, pixels: Pixels, title: str, colour: str) -> None:
    axis.imshow(pixels)
    axis.set_axis_off()
    axis.set_title(title, fontsize=12, color=colour, parse_math=False)  # a caption may speak of $


def _read(image: Path, max_bytes: int) -> bytes:
    try:
        found = image.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SourceNotFound(f"{image}: not a file: name a .jpg, .png or .webp file")
        if found.st_size > max_bytes:
            raise OversizedFrame(f"{found.st_size} bytes are more than worker.max_bytes allows ({max_bytes}): raise it")
        return image.read_bytes()
    except OSError as error:
        raise SourceNotFound(f"{image}: cannot be read ({error.strerror}): name a .jpg, .png or .webp file") from None
