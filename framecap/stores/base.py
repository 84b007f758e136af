"""What a store is: the place where frames and sidecars live, behind a few operations that every kind of store keeps.

`commit_sidecar` is the only place where "exactly once" is made. Every operation raises StoreUnavailable when the place is
away, full or read-only (trying again later can help), and KeyRefused for a key that could leave the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: key below the root, size in bytes, modification time (Unix seconds), a change mark."""

    key: str
    size: int
    modified: float
    etag: str


class PutResult(Enum):
    STORED = "stored"
    ALREADY_THERE = "already_there"


class CommitResult(Enum):
    COMMITTED = "committed"
    ALREADY_THERE = "already_there"


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """One line of a store's probe: what was tried, whether it held, and what follows from it."""

    what: str
    ok: bool
    meaning: str


class Store(Protocol):
    """Frames and sidecars below one root (sidecars may have a root of their own). Safe to use from several threads."""

    @property
    def address(self) -> str:
        """The root as users write it, without credentials."""
        ...

    @property
    def directory(self) -> Path | None:
        """The directory that holds the frames, for those who watch it; None for a bucket."""
        ...

    @property
    def hints(self) -> bool:
        """Whether file-system events tell of every change here (a local disk), or only scans do (mounts)."""
        ...

    @property
    def whole_frames(self) -> bool:
        """Whether a frame that is listed is whole, whoever writes it (a bucket's); a directory's may be in the making."""
        ...

    @property
    def whole_sidecars(self) -> bool:
        """The same of sidecars: whether none that is listed can be torn."""
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Frames and sidecars whose key starts with `prefix` and sorts after `after`, in the byte order of their keys.

        A sidecar is listed under `sidecar_key(frame)`, wherever its root is. Hidden and unfinished names are skipped, and
        so are keys that `check_key` refuses (each is logged once).
        """
        ...

    def top(self) -> Iterator[Entry | str]:
        """What lies directly in the root, in byte order: frames and sidecars as entries, folders as keys that end in `/`."""
        ...

    def stat(self, key: str) -> Entry:
        """The entry of one frame. Raises FrameGone, and FrameUnreadable where the store shows others and not this one."""
        ...

    def read(self, key: str, limit: int) -> bytes:
        """The bytes of a frame. Raises FrameGone, FrameUnreadable, and OversizedFrame above `limit` bytes."""
        ...

    def put_frame(self, key: str, data: bytes) -> PutResult:
        """Store a frame under a key that nothing has yet; what is there is never overwritten."""
        ...

    def commit_sidecar(self, key: str, data: bytes) -> CommitResult:
        """Write the sidecar of frame `key`, once: durable and whole when this returns, ALREADY_THERE if another was first.

        An existing sidecar of size 0 (a writer died) counts as absent. Raises FolderClosed where this user may not
        write into that one folder, and NameTaken where another program's file has the sidecar's name.
        """
        ...

    def read_sidecar(self, key: str) -> bytes | None:
        """The bytes under the name of frame `key`'s sidecar, or None; `sidecar.is_foreign` tells another program's."""
        ...

    def replace_sidecar(self, key: str, data: bytes, if_match: bytes) -> CommitResult:
        """Put another sidecar in place of the one whose bytes are `if_match`; ALREADY_THERE when it is another by now.

        Raises NameTaken where `if_match` is another program's file.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete a frame; no error when it is not there."""
        ...

    def delete_frames(self, keys: Sequence[str]) -> None:
        """Delete many frames, in few requests; no error for those that are not there. Raises StoreUnavailable."""
        ...

    def delete_sidecars(self, keys: Sequence[str]) -> Sequence[str]:
        """Delete the sidecars of many frames, in few requests; no error for those that are not there.

        Another program's file under a sidecar's name stays; the keys of the other frames are returned.
        In a directory, folders of hours (days, months, years) that are empty then go with them. Raises StoreUnavailable.
        """
        ...

    def probe(self) -> tuple[ProbeFinding, ...]:
        """Try what the promise rests on (write, exclusive create, rename, read back) and clean up."""
        ...
