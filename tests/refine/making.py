"""Stores of first captions, and refiners over them, for the tests of the second look."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, Config, IngestConfig, OpenAIConfig, RefineConfig, StoreConfig
from framecap.refine.refiner import Refiner, RefineSummary
from framecap.refine.state import RefineState
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Frame, Model, Sidecar, Worker
from framecap.stores import open_store
from framecap.stores.base import Store
from tests.worker.images import encoded, scene

FRAME = encoded(scene(64, 48))
FIRST = Model(name="default", bundle="a" * 64, runtime="onnxruntime")


def commit_first(store: Store, root: Path, key: str, at: datetime | None = None, **changes: Any) -> None:
    """Write a frame and its first sidecar, which is uncertain."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FRAME)
    now = datetime.now(UTC)
    made = Sidecar(
        status="captioned",
        caption="A dog is running.",
        confidence=0.2,
        uncertain=True,
        model=FIRST,
        frame=Frame(
            key=key,
            sha256=hashlib.sha256(FRAME).hexdigest(),
            camera=key.partition("/")[0],
            captured_at=at or now,
        ),
        worker=Worker(host="here", pid=1, version="0"),
        committed_at=now,
    )
    store.commit_sidecar(key, sidecar.encode(made.model_copy(update=changes)))


def settings(root: Path, base_url: str, **refine: Any) -> Config:
    """A configuration whose second captioner is the vision server at `base_url`."""
    captioner = CaptioningConfig(kind="openai", openai=OpenAIConfig(base_url=base_url, model="strong", timeout_seconds=5))
    return Config(
        store=StoreConfig(frames=str(root)),
        ingest=IngestConfig(scan_seconds=0.05),
        refine=RefineConfig.model_validate({"captioner": captioner, **refine}),
    )


def run_once(config: Config, state: Path, **arguments: Any) -> RefineSummary:
    """Refine until nothing waits."""
    store = open_store(config.store)
    opened = RefineState(state, store.address, config.refine.budget)
    try:
        assert config.refine.captioner is not None
        refiner = Refiner(config, store, opened, load_captioner(config.refine.captioner))
        finish = Event()
        finish.set()
        return refiner.run(Event(), finish, **arguments)
    finally:
        opened.close()


@contextmanager
def refining(config: Config, state: Path, backlog_seconds: float = 0.0) -> Iterator[RefineState]:
    """Within, a refiner runs."""
    store = open_store(config.store)
    opened = RefineState(state, store.address, config.refine.budget)
    assert config.refine.captioner is not None
    refiner = Refiner(config, store, opened, load_captioner(config.refine.captioner))
    stop = Event()
    thread = Thread(target=refiner.run, args=(stop, Event()), kwargs={"backlog_seconds": backlog_seconds})
    thread.start()
    try:
        yield opened
    finally:
        stop.set()
        thread.join(60)
        opened.close()
        assert not thread.is_alive()


def read(store: Store, key: str) -> Sidecar:
    data = store.read_sidecar(key)
    assert data is not None
    return sidecar.decode(data)


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


HOUR = timedelta(hours=1)
