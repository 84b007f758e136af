"""Sidecars made up for tests, and stores that hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from framecap.frames import FrameName, camera_of, make_key, parse_key
from framecap.sidecars.sidecar import Failure, Frame, Model, Sidecar, Worker, encode
from framecap.stores.base import Store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MODEL = Model(name="made-up", bundle="0" * 64, runtime="none")


def own(camera: str, at: datetime, sequence: int = 0) -> str:
    return make_key(FrameName(camera, at, sequence))


def make(key: str, at: datetime | None = None, caption: str | None = None, **changed: Any) -> Sidecar:
    """A captioned sidecar, or a failed one where there is no caption."""
    name = parse_key(key)
    frame = Frame(
        key=key,
        camera=camera_of(key),
        captured_at=at or (name.captured_at if name else NOON),
        position=changed.pop("position", None),
    )
    reported = {"status": "failed", "error": Failure(kind="empty", message="no bytes", attempts=1)}
    if caption is not None:
        reported = {"status": "captioned", "caption": caption, "confidence": 0.5, "model": MODEL}
    here = Worker(host="here", pid=1, version="0")
    return Sidecar(**{"frame": frame, "worker": here, "committed_at": NOON, **reported, **changed})


def commit(store: Store, key: str, at: datetime | None = None, caption: str | None = None, **changed: Any) -> str:
    store.commit_sidecar(key, encode(make(key, at, caption, **changed)))
    return key


def replace(store: Store, key: str, caption: str, at: datetime | None = None) -> None:
    """As retry and recaption do."""
    there = store.read_sidecar(key)
    assert there is not None
    store.replace_sidecar(key, encode(make(key, at, caption, committed_at=NOON + 9 * SECOND)), if_match=there)
