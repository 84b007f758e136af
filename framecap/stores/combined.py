"""A place for frames and one for sidecars in (the same, or another); the Store over both out."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from framecap.errors import FolderClosed, FrameGone, FrameUnreadable, NameTaken, OversizedFrame, StoreUnavailable
from framecap.frames import MAX_SIDECAR_BYTES, SIDECAR_SUFFIX, check_key, sidecar_key
from framecap.sidecars.sidecar import is_foreign
from framecap.stores.base import CommitResult, Entry, ProbeFinding, PutResult

_READERS = 8  # threads that look whose files they are, where a read waits for the network
_TOO_LARGE = b"null"  # how a file that is too large for a sidecar reads: as another program's


class Backend(Protocol):
    """What a store is made of: objects under paths below one root, in a directory or a bucket."""

    @property
    def address(self) -> str: ...

    @property
    def directory(self) -> Path | None: ...

    @property
    def hints(self) -> bool: ...

    @property
    def whole(self) -> bool:
        """Whether what is listed is whole, whoever wrote it."""
        ...

    def entries(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Frames and sidecars in the byte order of their keys: whose key starts with `prefix` and sorts after `after`."""
        ...

    def top(self) -> Iterator[Entry | str]:
        """What lies directly in the root, in byte order: frames and sidecars as entries, folders as keys that end in `/`."""
        ...

    def stat(self, path: str) -> Entry | None:
        """One object's entry; None when it is not there."""
        ...

    def read(self, path: str, limit: int) -> bytes | None:
        """One object's bytes; None when it is not there. Raises OversizedFrame above `limit` bytes."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write an object, whole and durable; False when something is there already (an empty object counts as nothing)."""
        ...

    def replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        """Write an object in place of the one that holds `if_match`; False when it holds something else by now."""
        ...

    def delete(self, path: str) -> None: ...

    def delete_all(self, paths: Sequence[str]) -> None:
        """Delete many objects; no error for those that are not there. Emptied folders of framecap's own keys go, too."""
        ...

    def probe(self) -> tuple[ProbeFinding, ...]:
        """Try what `create` rests on, and clean up."""
        ...


class CombinedStore:
    """A store in directories or buckets: what differs between them is the places' business."""

    def __init__(self, frames: Backend, sidecars: Backend | None = None) -> None:
        self._frames = frames
        self._sidecars = sidecars or frames

    @property
    def address(self) -> str:
        return self._frames.address

    @property
    def directory(self) -> Path | None:
        return self._frames.directory

    @property
    def hints(self) -> bool:
        return self._frames.hints

    @property
    def whole_frames(self) -> bool:
        return self._frames.whole

    @property
    def whole_sidecars(self) -> bool:
        return self._sidecars.whole

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        if self._sidecars is self._frames:
            return self._frames.entries(prefix, after)
        frames = (entry for entry in self._frames.entries(prefix, after) if not entry.key.endswith(SIDECAR_SUFFIX))
        sidecars = (entry for entry in self._sidecars.entries(prefix, after) if entry.key.endswith(SIDECAR_SUFFIX))
        return heapq.merge(frames, sidecars, key=attrgetter("key"))

    def top(self) -> Iterator[Entry | str]:
        if self._sidecars is self._frames:
            yield from self._frames.top()
            return
        frames = (item for item in self._frames.top() if not _key(item).endswith(SIDECAR_SUFFIX))
        sidecars = (item for item in self._sidecars.top() if _key(item).endswith((SIDECAR_SUFFIX, "/")))
        last: str | None = None
        for item in heapq.merge(frames, sidecars, key=_key):
            if _key(item) != last:  # a folder that both have comes once
                yield item
            last = _key(item)

    def stat(self, key: str) -> Entry:
        entry = self._frames.stat(check_key(key))
        if entry is None:
            raise _gone(key)
        return entry

    def read(self, key: str, limit: int) -> bytes:
        try:
            data = self._frames.read(check_key(key), limit)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, PermissionError):  # of one frame: the store itself answers
                raise FrameUnreadable(f"{key}: this user may not read it: change its owner or mode") from None
            raise
        if data is None:
            raise _gone(key)
        return data

    def put_frame(self, key: str, data: bytes) -> PutResult:
        return PutResult.STORED if self._frames.create(check_key(key), data) else PutResult.ALREADY_THERE

    def commit_sidecar(self, key: str, data: bytes) -> CommitResult:
        with _with_distinct_folders():
            created = self._sidecars.create(sidecar_key(check_key(key)), data)
            if not created and self._is_taken(key):
                raise _taken(key)
        return CommitResult.COMMITTED if created else CommitResult.ALREADY_THERE

    def read_sidecar(self, key: str) -> bytes | None:
        try:
            return self._sidecars.read(sidecar_key(check_key(key)), MAX_SIDECAR_BYTES)
        except OversizedFrame:
            return _TOO_LARGE
        except FrameUnreadable as error:  # who may not see a sidecar cannot say that there is none
            raise StoreUnavailable(str(error)) from None

    def replace_sidecar(self, key: str, data: bytes, if_match: bytes) -> CommitResult:
        if is_foreign(if_match):
            raise _taken(key)
        with _with_distinct_folders():
            replaced = self._sidecars.replace(sidecar_key(check_key(key)), data, if_match)
        return CommitResult.COMMITTED if replaced else CommitResult.ALREADY_THERE

    def delete(self, key: str) -> None:
        self._frames.delete(check_key(key))

    def delete_frames(self, keys: Sequence[str]) -> None:
        self._frames.delete_all([check_key(key) for key in keys])

    def delete_sidecars(self, keys: Sequence[str]) -> Sequence[str]:
        with ThreadPoolExecutor(1 if self._sidecars.hints else _READERS, "owners") as pool:
            taken = list(pool.map(self._is_taken, keys))
        deleted = [key for key, foreign in zip(keys, taken, strict=True) if not foreign]
        self._sidecars.delete_all([sidecar_key(key) for key in deleted])
        return deleted

    def _is_taken(self, key: str) -> bool:
        """Whether another program's file has the name of the frame's sidecar."""
        data = self.read_sidecar(key)
        return data is not None and is_foreign(data)

    def probe(self) -> tuple[ProbeFinding, ...]:
        if self._sidecars is self._frames:
            return self._frames.probe()
        return self._frames.probe() + self._sidecars.probe()


@contextmanager
def _with_distinct_folders() -> Iterator[None]:
    """A missing right to write is one folder's trouble: the store itself answers, and others may take sidecars."""
    try:
        yield
    except StoreUnavailable as error:
        if isinstance(error.__cause__, PermissionError):
            raise FolderClosed(str(error)) from None
        raise


def _key(item: Entry | str) -> str:
    return item if isinstance(item, str) else item.key


def _taken(key: str) -> NameTaken:
    return NameTaken(
        f"{key[:200]!a}: another program's file has the name of its sidecar and stays as it is: set store.sidecars to keep "
        "sidecars elsewhere"
    )


def _gone(key: str) -> FrameGone:
    return FrameGone(f"{key[:200]!a}: the frame is not there any more")
