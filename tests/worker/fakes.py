"""What the worker's tests share: real stores and ingests around scripted captioners, and the oracle of every fault."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from framecap.captioning.caption import Caption, Captioner, ImageBatch, Images, ModelName
from framecap.captioning.runtimes.null import NullCaptioner
from framecap.config import IngestConfig, StoreConfig, WorkerConfig
from framecap.errors import FramecapError
from framecap.frames import is_frame_key, sidecar_key
from framecap.ingest import open_ingest
from framecap.ingest.base import Backlog, Ingest, Lease
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.worker.run import WorkSummary, run_worker

QUICK = IngestConfig(scan_seconds=0.1, settle_seconds=0.3, hints="off")
A_CAPTION = Caption("A picture.", 0.5, ("a", "image"), (-0.5, -0.9))


class RecordedLease:
    """A lease that knows how it ended: exactly once, or the test fails."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.ended: list[str] = []

    @property
    def entry(self) -> Entry:
        return self._lease.entry

    @property
    def attempt(self) -> int:
        return self._lease.attempt

    @property
    def replaces(self) -> bytes | None:
        return self._lease.replaces

    def settles_in(self) -> float:
        return self._lease.settles_in()

    def done(self) -> None:
        self.ended.append("done")
        self._lease.done()

    def release(self, delay: float, counts: bool = True) -> None:
        self.ended.append("counted" if counts else "given back")
        self._lease.release(delay, counts)

    @property
    def terminal_error(self) -> FramecapError | None:
        return self._lease.terminal_error


class RecordedIngest:
    """The real ingest; keeps the leases it gave."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self.leases: list[RecordedLease] = []

    def start(self) -> None:
        self._ingest.start()

    def lease(self, timeout: float) -> RecordedLease | None:
        lease = self._ingest.lease(timeout)
        if lease is None:
            return None
        self.leases.append(RecordedLease(lease))
        return self.leases[-1]

    def backlog(self) -> Backlog:
        return self._ingest.backlog()

    def exhausted(self) -> bool:
        return self._ingest.exhausted()

    def stop(self) -> None:
        self._ingest.stop()

    def close(self) -> None:
        self._ingest.close()


class ScriptedCaptioner:
    """Answers with what a function makes of the batch; 32 pixels are enough for it."""

    image_size = 32
    square_input = True
    lanes, batch_size = 1, 16
    model = ModelName("scripted", "1" * 64, "scripted")

    def __init__(self, answer: Callable[[Images], Sequence[Caption | Exception]]) -> None:
        self._answer = answer
        self.batches: list[int] = []

    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        self.batches.append(len(images))
        return self._answer(np.asarray(images))


@dataclass
class Work:
    """What a run of the worker left behind."""

    summary: WorkSummary
    committed: list[Sidecar] = field(default_factory=list)
    leases: list[RecordedLease] = field(default_factory=list)

    def of(self, key: str) -> Sidecar:
        (found,) = (made for made in self.committed if made.frame.key == key)
        return found


def local_store(root: Path) -> Store:
    return open_store(StoreConfig(frames=str(root)))


@contextmanager
def ingest_of(store: Store, config: IngestConfig = QUICK) -> Iterator[RecordedIngest]:
    ingest = RecordedIngest(open_ingest(config, store))
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.close()


def work(
    store: Store,
    captioner: Captioner | None = None,
    config: WorkerConfig | None = None,
    stop: threading.Event | None = None,
    on_commit: Callable[[Sidecar], None] = lambda made: None,
    looking: IngestConfig = QUICK,
) -> Work:
    """Run a worker until nothing is pending (or `stop` is set), and check what holds whatever happens."""
    finish = threading.Event()
    finish.set()
    committed: list[Sidecar] = []

    def heard(made: Sidecar) -> None:
        committed.append(made)
        on_commit(made)

    with ingest_of(store, looking) as ingest:
        summary = run_worker(
            config or WorkerConfig(decoders=1),
            store,
            ingest,
            captioner or NullCaptioner(32),
            stop or threading.Event(),
            finish,
            heard,
        )
    assert [lease.entry.key for lease in ingest.leases if len(lease.ended) != 1] == []
    statuses = [made.status for made in committed]
    assert (summary.captioned, summary.duplicate, summary.skipped, summary.failed) == tuple(
        statuses.count(status) for status in ("captioned", "duplicate", "skipped", "failed")
    )
    return Work(summary, committed, ingest.leases)


def check_oracle(root: Path, committed: list[Sidecar] | None = None) -> dict[str, Sidecar]:
    """Every frame below `root` has one valid sidecar about what is there; none was committed twice. Returns them."""
    made = {}
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if path.is_file() and is_frame_key(key):
            beside = root / sidecar_key(key)
            assert beside.is_file(), f"{key}: no sidecar"
            made[key] = sidecar.decode(beside.read_bytes(), key)
            assert made[key].frame.key == key
            assert made[key].frame.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    if committed is not None:
        keys = [one.frame.key for one in committed]
        assert sorted(keys) == sorted(set(keys)), "committed twice"
    return made


def fill(root: Path, frames: dict[str, bytes]) -> None:
    for key, data in frames.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
