"""A folder of frames with captions that a person wrote beside them in, photos with their split and captions out.

The captions of `a.jpg` stand in `a.jpg.txt`, one a line. Of each folder (that is: of each camera and hour), in the order of
the names, eight tenths of the frames train, a tenth is val and the last tenth is test: frames of the same minute look alike,
and what is judged must not have been trained on.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from framecap.errors import ConfigError
from train.data.karpathy import Photo

SUFFIX = ".txt"
MAX_CAPTION_BYTES = 1 << 16
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")  # as in Karpathy's files: lower case, no punctuation


def read_own_frames(frames: Path) -> list[Photo]:
    """Every captioned frame below `frames`. Raises ConfigError when there is none, or a caption file has no words."""
    captioned = sorted(file for file in frames.rglob(f"*.*{SUFFIX}") if file.with_suffix("").is_file())
    if not captioned:
        raise ConfigError(f"{frames}: no frame has captions: write them, one a line, into a.jpg{SUFFIX} beside a.jpg")
    photos: list[Photo] = []
    for _, group in groupby(captioned, key=lambda file: file.parent):
        files = list(group)
        for index, file in enumerate(files):
            photos.append(Photo(file.with_suffix(""), len(photos), _split(index, len(files)), _captions(file)))
    return photos


def _split(index: int, count: int) -> str:
    return "TRAIN" if 10 * index < 8 * count else "VAL" if 10 * index < 9 * count else "TEST"


def _captions(file: Path) -> tuple[tuple[str, ...], ...]:
    try:
        if file.stat().st_size > MAX_CAPTION_BYTES:
            raise ConfigError(f"{file}: larger than {MAX_CAPTION_BYTES} bytes: one caption a line is expected")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text ({error.reason})") from None
    captions = tuple(filter(None, (tuple(_WORD.findall(line.lower())) for line in lines)))
    if not captions:
        raise ConfigError(f"{file}: no caption in it: write one a line")
    return captions
