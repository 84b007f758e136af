"""Frames of a listing in, each with the bytes of its sidecar out: in their order, several read at a time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from framecap.errors import KeyRefused
from framecap.sidecars.sidecar import is_foreign
from framecap.stores.base import Entry, Store

TORN = "torn"
FOREIGN = "foreign"

_READERS = 8  # on a mount or a bucket a read waits for the network most of its time
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class ReadSidecar:
    """A frame, the bytes of its sidecar (None: there are none to read), and what they say of it.

    `status` is the sidecar's; TORN for what is none, FOREIGN for another program's file under its name; `pending` when it
    has gone since it was listed. `kind` and `message` are those of a failed one's error; `model` is the name and hash of
    what wrote its caption.
    """

    frame: Entry
    data: bytes | None
    status: str
    kind: str | None
    message: str | None
    model: tuple[str, str] | None = None


def read_statuses(store: Store, frames: Iterable[Entry]) -> Iterator[ReadSidecar]:
    """Raises StoreUnavailable."""
    pool = ThreadPoolExecutor(_READERS, "sidecars")
    waiting: deque[Future[ReadSidecar]] = deque()
    try:
        for frame in frames:
            waiting.append(pool.submit(_read, store, frame))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(store: Store, frame: Entry) -> ReadSidecar:
    try:
        data = store.read_sidecar(frame.key)
    except KeyRefused:  # a directory or a link where the sidecar belongs: said by the listing
        return ReadSidecar(frame, None, TORN, TORN, None)
    if data is None:
        return ReadSidecar(frame, None, "pending", None, None)
    if is_foreign(data):
        return ReadSidecar(frame, data, FOREIGN, None, None)
    status, kind, message, model = TORN, None, None, None
    try:
        document = json.loads(data)
        status = str(document["status"])
        if status == "failed":
            kind, message = str(document["error"]["kind"]), str(document["error"]["message"])
        elif isinstance(written_by := document.get("model"), dict):
            model = str(written_by.get("name")), str(written_by.get("bundle"))
    except (ValueError, RecursionError, KeyError, TypeError):
        kind = TORN
    return ReadSidecar(frame, data, status, kind, message, model)
