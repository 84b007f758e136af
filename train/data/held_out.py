"""Which photos of the train split judge a run instead of training it: the last of each data set, whole clips together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from framecap.errors import ConfigError
from train.data.dataset import Numbers, Split

HeldOut = int | dict[str, int]  # photos of the only data set, or of each by its name


def parse_held_out(text: str) -> HeldOut:
    """`500`, or `flickr8k=500,msrvtt=224`. Raises ConfigError."""
    try:
        if "=" not in text:
            return int(text)
        pairs = [part.partition("=") for part in text.split(",")]
        found = {name.strip(): int(count) for name, _, count in pairs}
    except ValueError:
        raise ConfigError(
            f"--held-out {text}: a number is expected (500), or one for each data set (flickr8k=500,msrvtt=224)"
        ) from None
    if len(found) != len(pairs):
        raise ConfigError(f"--held-out {text}: a data set stands there twice")
    return found


def checked(value: Any) -> HeldOut:
    """What a checkpoint says of its held-out photos. Raises ValueError for anything else."""
    if isinstance(value, Mapping):
        return {str(name): int(count) for name, count in value.items()}
    return int(value)


def held_out_rows(split: Split, held_out: HeldOut) -> Numbers:
    """The photos' places in the split, in order. Raises ConfigError where the split has not so many."""
    names = split.set_names
    if isinstance(held_out, int):
        if len(names) > 1:
            example = ",".join(f"{name}={max(1, held_out // len(names))}" for name in names)
            raise ConfigError(f"--held-out {held_out}: the folder has several data sets: say of which, as in {example}")
        if not 0 < held_out < len(split):
            raise ConfigError(f"--held-out {held_out}: the split TRAIN has {len(split)} photos")
        return _last(split, np.arange(len(split)), held_out)
    unknown = sorted(set(held_out) - set(names))
    if unknown:
        raise ConfigError(f"--held-out {unknown[0]}=...: the folder has the data sets {', '.join(names) or 'none by name'}")
    rows = []
    for name, count in held_out.items():
        own = split.rows_of(name)
        if not 0 <= count < len(own):
            raise ConfigError(f"--held-out {name}={count}: its split TRAIN has {len(own)} photos")
        rows.append(_last(split, own, count))
    found = np.sort(np.concatenate(rows))
    if not len(found):
        raise ConfigError("--held-out: no photo at all is held out")
    return found


def _last(split: Split, rows: Numbers, count: int) -> Numbers:
    """The last `count` of these photos, and all others of their clips."""
    if count == 0:
        return rows[:0]
    last = rows[-count:]
    if split.origins is None:
        return last
    clips = {split.origins[row] for row in last if split.origins[row][1] is not None}
    more = [row for row in rows[:-count] if split.origins[row] in clips]
    return np.concatenate([np.array(more, np.int64), last])
