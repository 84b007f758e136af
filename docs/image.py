"""Frames with sidecars in; one image of them with their captions below, for the README, out.

framecap run samples/clip.mp4 --frames frames
python docs/image.py docs/images/captions.jpg frames/clip/2020/06/08/14/*{0060,0180,0288}.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from framecap.frames import sidecar_key
from framecap.sidecars.sidecar import decode

WIDTH, HEIGHT, MARGIN, LINE = 400, 300, 10, 24
FONT, SCALE, INK, GREY = cv2.FONT_HERSHEY_SIMPLEX, 0.55, (40, 40, 40), (120, 120, 120)


def panel(frame: Path) -> npt.NDArray[np.uint8]:
    """One frame with its caption, at most two lines, and its confidence below."""
    sidecar = decode(Path(sidecar_key(str(frame))).read_bytes(), str(frame))
    image = cv2.imread(str(frame))
    if image is None or sidecar.caption is None:
        raise SystemExit(f"{frame}: no image with a caption")
    canvas = np.full((HEIGHT + 4 * LINE, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
    canvas[MARGIN : MARGIN + HEIGHT, MARGIN : MARGIN + WIDTH] = cv2.resize(
        image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA
    )
    lines = [*wrapped(sidecar.caption), f"confidence {sidecar.confidence:.2f}{', uncertain' if sidecar.uncertain else ''}"]
    for number, line in enumerate(lines):
        colour = GREY if number == len(lines) - 1 else INK
        at = (MARGIN, HEIGHT + MARGIN + (number + 1) * LINE)
        cv2.putText(canvas, line, at, FONT, SCALE, colour, 1, cv2.LINE_AA)
    return canvas


def wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, FONT, SCALE, 1)[0][0] <= WIDTH:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


if __name__ == "__main__":
    target, *frames = map(Path, sys.argv[1:])
    cv2.imwrite(str(target), np.hstack([panel(frame) for frame in frames]), [cv2.IMWRITE_JPEG_QUALITY, 88])
