"""A model's name in; the choice of the frames whose captions it wrote, for leases as of `upkeep.retry`, out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from framecap.errors import ConfigError
from framecap.upkeep.reading import Read

_FEWEST_DIGITS = 6  # of a hash, to be taken for the beginning of one


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """Captions of the model of this name, hash or beginning of a hash; never those of the model that is to write now.

    So who is killed and started again goes on where it stopped, though the old model and the new one share a name.
    """

    model: str
    now: str
    camera: str | None = None

    def __post_init__(self) -> None:
        if self._is_hash() and self.now.startswith(self.model):
            raise ConfigError(
                f"--model: {self.model} is the model that is to write now: name the older one, or change --bundle"
            )

    def _is_hash(self) -> bool:
        return re.fullmatch(rf"[0-9a-f]{{{_FEWEST_DIGITS},64}}", self.model) is not None

    def holds(self, read: Read) -> bool:
        if read.data is None or read.model is None:
            return False
        name, found = read.model
        return found != self.now and (name == self.model or (self._is_hash() and found.startswith(self.model)))
