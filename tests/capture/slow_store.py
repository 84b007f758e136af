"""A capture of its own whose store is slow: an address, a directory and seconds per frame in; its summary as JSON out."""

from __future__ import annotations

import json
import sys
import time

from framecap.capture.daemon import run_capture
from framecap.config import StoreConfig
from framecap.runtime.signals import stop_on_signals
from framecap.stores import open_store
from framecap.stores.base import PutResult, Store
from tests.capture.running import capture_config


class SlowStore:
    """Puts at a steady rate, as a thin line to a distant bucket does."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._next = time.monotonic()
        self.address = store.address
        self.directory = store.directory

    def put_frame(self, key: str, data: bytes) -> PutResult:
        self._next = max(self._next + self._seconds, time.monotonic())
        time.sleep(max(0.0, self._next - time.monotonic()))
        return self._store.put_frame(key, data)

    def read(self, key: str, limit: int) -> bytes:
        return self._store.read(key, limit)


class Stop:
    """A flag that can be waited for."""

    def __init__(self, flag: object) -> None:
        self._flag = flag

    def is_set(self) -> bool:
        return bool(self._flag.is_set())  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep(0 if self.is_set() else timeout or 0)
        return self.is_set()


def main(url: str, root: str, seconds: float) -> None:
    store = SlowStore(open_store(StoreConfig(frames=root)), seconds)
    with stop_on_signals() as flag:
        summary = run_capture(capture_config(url, overflow="drop_oldest", queue=8), store, Stop(flag))  # type: ignore[arg-type]
    (camera,) = summary.cameras
    print(json.dumps({"captured": camera.captured, "dropped": dict(camera.dropped), "reconnects": camera.reconnects}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
