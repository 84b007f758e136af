"""A key in, whether it belongs to this worker's share out: every key is in exactly one of the shares. No I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from framecap.frames import camera_of


@dataclass(frozen=True, slots=True)
class Shard:
    """The share `number` of `count` equal ones, 1 being the first."""

    number: int
    count: int

    @staticmethod
    def parse(text: str) -> Shard:
        """`2/8`, as the configuration has it."""
        number, _, count = text.partition("/")
        return Shard(int(number), int(count))

    def holds(self, key: str) -> bool:
        return _share(_belongs_to(key), self.count) == self.number - 1


def _belongs_to(key: str) -> str:
    """What a key goes with: its camera where the file's name begins with it, as our own names do; else it goes alone.

    So a camera's frames stay together and in order, and a folder full of foreign frames is shared out.
    """
    camera = camera_of(key)
    return camera if key.rpartition("/")[2].startswith(f"{camera}-") else key


@lru_cache(4096)  # cameras come again and again
def _share(name: str, count: int) -> int:
    """The same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()) % count
