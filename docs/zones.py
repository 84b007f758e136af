"""An image in; the same image with two masking zones and their coordinates, for docs/privacy.md, out.

python docs/zones.py frame.jpg docs/images/zones.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from framecap.capture.zones import Zone, blacken

ZONES: tuple[Zone, ...] = (
    ((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0)),
    ((1.0, 0.4), (1.0, 1.0), (0.6, 1.0)),
)
WIDTH, MARGIN = 560, 72
FONT, INK = cv2.FONT_HERSHEY_SIMPLEX, (40, 40, 40)


def drawn(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The masked image in a margin, with each corner of each zone named."""
    height = round(image.shape[0] * WIDTH / image.shape[1])
    masked = blacken(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA), ZONES)
    canvas = np.full((height + 2 * MARGIN, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
    canvas[MARGIN : MARGIN + height, MARGIN : MARGIN + WIDTH] = masked
    for x, y in sorted({point for zone in ZONES for point in zone}):
        at = (MARGIN + round(x * WIDTH), MARGIN + round(y * height))
        cv2.circle(canvas, at, 5, (0, 140, 255), -1, cv2.LINE_AA)
        text = f"[{x:g}, {y:g}]"
        wide = cv2.getTextSize(text, FONT, 0.5, 1)[0][0]
        beside = (at[0] - wide // 2, at[1] + (-12 if y < 0.5 else 24)) if y in (0, 1) else (at[0] + 10, at[1] + 5)
        cv2.putText(canvas, text, beside, FONT, 0.5, INK, 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    image = cv2.imread(str(source))
    if image is None:
        raise SystemExit(f"{source}: no image")
    cv2.imwrite(str(target), drawn(image), [cv2.IMWRITE_JPEG_QUALITY, 85])
