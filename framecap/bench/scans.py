"""A number of finished frames in; what the passes of a scan over them cost out: seconds, entries listed, memory.

`passes("directory", 1_000_000, 100, folder)` and `passes("bucket", ...)` (its lister is a stub) run `python -m
framecap.bench.scans` as a process of its own, whose largest size is the memory; `backlog` tells what frames take that wait.
A million frames in a directory are two million small files: some minutes to make, 8 GB of disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from framecap.bench.children import MeasurementFailed, environment, wait
from framecap.bench.fake_listing import FakeFrameKeys, FakeListingClient
from framecap.config import IngestConfig, S3Config, StoreConfig
from framecap.ingest.scanner import ScanIngest
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.stores.combined import CombinedStore

StoreKind = Literal["directory", "bucket"]

CAMERAS = 10
_BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
_SIDECAR = b'{"status": "captioned"}'


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: how long it took, how many entries and requests it listed, how many pending frames are known after it."""

    seconds: float
    listed: int
    requests: int  # 0 for a directory
    pending: int


@dataclass(frozen=True, slots=True)
class Passes:
    """Of `frames` finished frames: the first pass lists everything. The next one looks back all the way, as one of 64 does;
    the third as half of all do; both find nothing new. Before the last one `new` frames appear."""

    frames: int
    new: int
    first: Pass
    lookback: Pass
    usual: Pass
    last: Pass
    memory: int  # bytes, the process's largest


def passes(backend: StoreKind, frames: int, new: int, folder: Path, backlog: int = 0) -> Passes:
    """Measure, in `folder`, which is empty; `backlog` frames without a sidecar are there from the beginning.

    All numbers are rounded down to tens: there are ten cameras. Raises MeasurementFailed.
    """
    done, more, waiting = frames // CAMERAS, new // CAMERAS, backlog // CAMERAS
    if backend == "directory":
        _make(folder, FakeFrameKeys(CAMERAS, done, _BEGIN, waiting, prefix=""))
    command = [sys.executable, "-m", "framecap.bench.scans", backend, *map(str, (done, more, waiting)), str(folder)]
    started = time.perf_counter()
    with (folder.parent / f"{folder.name}.passes").open("w+") as out:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        wait(process, started)
        out.seek(0)
        output = out.read()
    if process.returncode:
        raise MeasurementFailed(f"the scan of {frames} frames ended with {process.returncode}: {output[-2000:]}")
    found = json.loads(output)
    first, lookback, usual, last = (Pass(**one) for one in found["passes"])
    return Passes(done * CAMERAS, more * CAMERAS, first, lookback, usual, last, found["memory"])


def _make(root: Path, keys: FakeFrameKeys) -> None:
    for key in keys:
        path = root / key
        try:
            path.write_bytes(_SIDECAR)
        except FileNotFoundError:
            path.parent.mkdir(parents=True)
            path.write_bytes(_SIDECAR)


class _Counted:
    """A store that counts what it lists."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.listed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        for entry in self._store.list(prefix, after):
            self.listed += 1
            yield entry

    def top(self) -> Iterator[Entry | str]:
        for item in self._store.top():
            self.listed += 1
            yield item


def _bucket(client: FakeListingClient) -> Store:
    from framecap.stores.s3 import S3Backend, Server
    from framecap.stores.s3_client import S3Address

    stub: Any = client
    backend: Any = S3Backend(stub, S3Address("bucket", "root/"), S3Config(), Server("https://s3.amazonaws.com"))
    return CombinedStore(backend)


def _measure(backend: str, done: int, new: int, backlog: int, root: Path) -> Iterator[Pass]:
    client = FakeListingClient(FakeFrameKeys(CAMERAS, done, _BEGIN, backlog))
    if backend == "directory":
        store: Any = _Counted(open_store(StoreConfig(frames=str(root))))
    else:
        store = _Counted(_bucket(client))
    ingest = ScanIngest(IngestConfig(), store, None)
    for number in range(4):
        if number == 3 and backend == "directory":
            _make(root, FakeFrameKeys(CAMERAS, 0, _BEGIN.replace(month=12), new, prefix=""))
        elif number == 3:
            client.keys = FakeFrameKeys(CAMERAS, done, _BEGIN, backlog + new)
        store.listed = client.requests = 0
        started = time.perf_counter()
        ingest.scan(full=number == 0)
        seconds = time.perf_counter() - started
        yield Pass(seconds, store.listed, client.requests, ingest.backlog().pending)


def main() -> None:
    """What `passes` starts."""
    backend, done, new, backlog, root = sys.argv[1:]
    measured = [asdict(one) for one in _measure(backend, int(done), int(new), int(backlog), Path(root))]
    sys.stdout.write(json.dumps({"passes": measured, "memory": _largest()}) + "\n")


def _largest() -> int:
    """Bytes that this process held at most; what rusage says of a child counts its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


if __name__ == "__main__":
    main()
