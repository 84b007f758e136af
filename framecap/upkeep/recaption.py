"""A model's name in; the choice of the frames whose captions it wrote, for leases as of `upkeep.retry`, out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from framecap.errors import ConfigError
from framecap.sidecars.status_reader import ReadSidecar

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

    def holds(self, read: ReadSidecar) -> bool:
        return read.data is not None and read.model is not None and read.model[1] != self.now and self.names(read.model)

    def names(self, model: tuple[str, str]) -> bool:
        """Whether a model of this name and hash is meant, be it the one that is to write now."""
        name, found = model
        return name == self.model or (self._is_hash() and found.startswith(self.model))


@dataclass(slots=True)
class RememberingFilter:
    """The same choice; `seen` are the names and hashes of all models it met, to say why nothing was `chosen`."""

    choice: WrittenBy
    seen: set[tuple[str, str]] = field(default_factory=set)
    chosen: int = 0

    @property
    def camera(self) -> str | None:
        return self.choice.camera

    def holds(self, read: ReadSidecar) -> bool:
        if read.model is not None:
            self.seen.add(read.model)
        holds = self.choice.holds(read)
        self.chosen += holds
        return holds
