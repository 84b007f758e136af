"""What the tests of scans share: a store on a real directory, an ingest on it, and a worker of one line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from framecap.config import IngestConfig, StoreConfig
from framecap.ingest import open_ingest
from framecap.ingest.scanner import ScanIngest, ScanLease
from framecap.stores import open_store
from framecap.stores.base import CommitResult, Store

WHOLE = b'{"status": "captioned", "frame": {}}'
DEADLINE = 20.0


class Bench:
    """A store on a real directory, an ingest on it, and a worker of one line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Store = open_store(StoreConfig(frames=str(root)))
        self.leased: Counter[str] = Counter()

    @contextmanager
    def ingest(
        self, hints: bool, scan_seconds: float = 0.1, settle_seconds: float = 10.0, full_scan_seconds: float = 600.0
    ) -> Iterator[ScanIngest]:
        config = IngestConfig(
            scan_seconds=scan_seconds,
            settle_seconds=settle_seconds,
            full_scan_seconds=full_scan_seconds,
            hints="on" if hints else "off",
        )
        ingest = open_ingest(config, self.store)
        assert isinstance(ingest, ScanIngest)
        ingest.start()
        try:
            yield ingest
        finally:
            ingest.close()

    def lease(self, ingest: ScanIngest, timeout: float = DEADLINE) -> ScanLease:
        lease = ingest.lease(timeout)
        assert lease is not None, "a frame was expected"
        return lease

    def caption(self, lease: ScanLease) -> CommitResult:
        self.leased[lease.entry.key] += 1
        if lease.replaces is None:
            outcome = self.store.commit_sidecar(lease.entry.key, WHOLE)
        else:
            outcome = self.store.replace_sidecar(lease.entry.key, WHOLE, if_match=lease.replaces)
        lease.done()
        return outcome

    def run(self, ingest: ScanIngest) -> None:
        """Caption until nothing is pending."""
        ends = time.monotonic() + DEADLINE
        while not ingest.exhausted():
            assert time.monotonic() < ends, ingest.backlog()
            lease = ingest.lease(0.02)
            if lease is not None:
                self.caption(lease)

    def put(self, key: str, data: bytes = b"frame") -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def check(self, frames: int) -> None:
        """Every frame has its whole sidecar, and each was leased once."""
        paths = [path for path in self.root.rglob("*.jpg") if path.is_file()]
        assert len(paths) == frames
        assert all(path.with_name(path.name + ".json").read_bytes() == WHOLE for path in paths)
        assert self.leased == Counter(str(path.relative_to(self.root)) for path in paths)


both = pytest.mark.parametrize("hints", [True, False], ids=["hints", "polling"])
