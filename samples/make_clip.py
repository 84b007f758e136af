"""Photos and a phone video of Debian's forensics-samples-files in, samples/clip.mp4 out: slow camera moves over each.

    sudo apt-get install ffmpeg forensics-samples-files
    python samples/make_clip.py

Only this script needs ffmpeg (with libx264); reading the clip needs nothing but OpenCV.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

ORIGINALS = Path("/usr/share/forensics-samples/original-files")
CLIP = Path(__file__).with_name("clip.mp4")
WIDTH, HEIGHT = 640, 480
FRAMES_PER_SECOND = 12
CONSTANT_RATE_FACTOR = 30  # keeps the clip well under 1 MB, and its fur still looks like fur
CREATED = "2020-06-08T14:16:14Z"  # of the first photo: the clip says when it begins, wherever a checkout puts it

Image = npt.NDArray[np.uint8]
View = tuple[float, float, float]  # centre x, centre y, width: parts of the photo's own width and height


@dataclass(frozen=True)
class Move:
    """A camera move over one photo: from one view to another, in seconds."""

    photo: str
    start: View
    end: View
    seconds: float


MOVES_BEFORE = (
    Move("pic2/IMG_20200608_111614.jpg", (0.50, 0.50, 1.00), (0.55, 0.42, 0.72), 10.5),
    Move("pic1/IMG-20191006-WA0002.jpg", (0.58, 0.55, 0.72), (0.50, 0.50, 1.00), 10.5),
)
PHONE_VIDEO = "movie1/VID_20191220_170832.mp4"
MOVES_AFTER = (Move("pic2/IMG_20200124_231153.jpg", (0.45, 0.50, 0.90), (0.55, 0.50, 0.85), 3.0),)


def frames_of_move(move: Move) -> Iterator[Image]:
    photo = cv2.imread(str(ORIGINALS / move.photo))
    if photo is None:
        raise SystemExit(f"{ORIGINALS / move.photo}: not there: apt-get install forensics-samples-files")
    smaller = min(1.0, 2000 / photo.shape[1])
    photo = cv2.resize(photo, None, fx=smaller, fy=smaller, interpolation=cv2.INTER_AREA)
    count = round(move.seconds * FRAMES_PER_SECOND)
    for number in range(count):
        eased = (1 - np.cos(np.pi * number / (count - 1))) / 2  # no jerk at either end
        view = tuple(a + (b - a) * eased for a, b in zip(move.start, move.end, strict=True))
        yield crop(photo, view)


def crop(photo: Image, view: tuple[float, ...]) -> Image:
    rows, columns = photo.shape[:2]
    width = view[2] * columns
    height = min(width * HEIGHT / WIDTH, rows)
    left = np.clip(view[0] * columns - width / 2, 0, columns - width)
    top = np.clip(view[1] * rows - height / 2, 0, rows - height)
    scale = WIDTH / width
    if scale < 0.7:  # averaged down first, or fine structures shimmer
        half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return crop(half, view)
    affine = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    return cv2.warpAffine(photo, affine, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def frames_of_video(name: str) -> Iterator[Image]:
    """The phone video at its own speed, its middle 4:3."""
    video = cv2.VideoCapture(str(ORIGINALS / name))
    due = 0.0
    while True:
        here, image = video.read()
        if not here:
            return
        if video.get(cv2.CAP_PROP_POS_MSEC) / 1000 >= due:
            due += 1 / FRAMES_PER_SECOND
            rows, columns = image.shape[:2]
            width = rows * WIDTH // HEIGHT
            left = (columns - width) // 2
            yield cv2.resize(image[:, left : left + width], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def all_frames() -> Iterator[Image]:
    for move in MOVES_BEFORE:
        yield from frames_of_move(move)
    yield from frames_of_video(PHONE_VIDEO)
    for move in MOVES_AFTER:
        yield from frames_of_move(move)


def main() -> None:
    command = [
        *("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}"),
        *("-r", str(FRAMES_PER_SECOND), "-i", "-", "-c:v", "libx264", "-preset", "veryslow", "-pix_fmt", "yuv420p"),
        *("-crf", str(CONSTANT_RATE_FACTOR), "-g", str(4 * FRAMES_PER_SECOND), "-metadata", f"creation_time={CREATED}"),
        *("-metadata", "artist=Joao Eriberto Mota Filho", "-metadata", "copyright=CC-BY-SA-4.0"),
        *("-movflags", "+faststart", str(CLIP)),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for frame in all_frames():
            encoder.stdin.write(frame.tobytes())
    if encoder.returncode:
        raise SystemExit(f"ffmpeg ended with {encoder.returncode}")


if __name__ == "__main__":
    main()
