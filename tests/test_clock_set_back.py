"""This machine's clock was a day ahead (no battery, a clock in local time) and was set back: nothing waits for tomorrow."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import framecap.events.delivery as delivery_module
import framecap.sidecars.follower as follower_module
import framecap.worker.near_duplicates as near_duplicates_module
from framecap.config import EventsConfig, IngestConfig, NearDuplicatesConfig, StoreConfig
from framecap.errors import EndpointUnavailable
from framecap.events.delivery import Delivery
from framecap.events.event import Event
from framecap.events.state import EventState
from framecap.sidecars import sidecar
from framecap.sidecars.follower import Follower, MemoryCursor
from framecap.stores import open_store
from framecap.stores.base import Entry
from framecap.viewer.live_frame import LiveFrame
from framecap.viewer.live_state import LiveState
from framecap.worker.jobs import Job
from framecap.worker.near_duplicates import NearDuplicates
from tests import command
from tests.worker.images import encoded, scene

DAY = 86_400.0


class Clock:
    """The time module, ahead by `offset` seconds by the wall clock."""

    def __init__(self) -> None:
        self.offset = DAY
        self._true = time.time()
        self.monotonic = time.monotonic

    def time(self) -> float:
        return self._true + self.offset


def commit(root: Path, number: int, at: float) -> None:
    key = f"cam/f{number:04}.jpg"
    (root / "cam").mkdir(exist_ok=True)
    (root / key).write_bytes(b"x")
    when = datetime.fromtimestamp(at, UTC)
    made = sidecar.Sidecar(
        status="captioned",
        caption=f"A dog {number}.",
        model=sidecar.Model(name="m", bundle="0" * 64, runtime="r"),
        frame=sidecar.Frame(key=key, camera="cam", captured_at=when),
        worker=sidecar.Worker(host="h", pid=1, version="1"),
        committed_at=when,
    )
    path = root / f"{key}.json"
    path.write_bytes(sidecar.encode(made))
    os.utime(path, (at, at))


@pytest.mark.parametrize("durable", [False, True])
def test_captions_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    root = tmp_path / "store"
    root.mkdir()
    clock = Clock()
    monkeypatch.setattr(follower_module, "time", clock)
    state = EventState(tmp_path / "state", "here")
    state.begin(clock.time())
    follower = Follower(open_store(StoreConfig(frames=str(root))), state if durable else MemoryCursor(), IngestConfig())
    commit(root, 0, clock.time())
    if not durable:
        follower.skip_what_is_there()
    commit(root, 1, clock.time() + 1)
    seen: list[str] = []

    def poll() -> None:
        follower._next_full = -1e9  # a full listing, which sees everything
        for found in follower.poll():
            seen.append(found.key)
            follower.done(found)

    poll()
    assert "cam/f0001.jpg" in seen
    clock.offset = 0.0
    commit(root, 2, clock.time() + 5)
    poll()
    poll()
    assert seen.count("cam/f0002.jpg") == 1
    state.close()


class Endpoint:
    target = "t"

    def __init__(self) -> None:
        self.away = True
        self.got: list[str] = []
        self.refused = threading.Event()

    def deliver(self, event: Event) -> None:
        if self.away:
            self.refused.set()
            raise EndpointUnavailable("away")
        self.got.append(event.id)

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing hangs."""


def test_failed_deliveries_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, endpoint = Clock(), Endpoint()
    monkeypatch.setattr(delivery_module, "time", clock)
    monkeypatch.setattr(delivery_module, "_POLL_SECONDS", 0.05)
    state = EventState(tmp_path, "here")
    config = EventsConfig(retry_min_seconds=0.2, retry_max_seconds=0.5)
    delivery = Delivery("r/webhook", "r", endpoint, state, config)
    state.put("r/webhook", Event("1", "r", "c", b"{}"), clock.time())
    delivery.start()
    assert endpoint.refused.wait(10)
    endpoint.away, clock.offset = False, 0.0
    state.put("r/webhook", Event("2", "r", "c", b"{}"), clock.time())
    delivery.wake()
    end = time.monotonic() + 20
    while sorted(endpoint.got) != ["1", "2"] and time.monotonic() < end:
        time.sleep(0.02)
    delivery.stop()
    delivery.join(5)
    state.close()
    assert sorted(endpoint.got) == ["1", "2"]


def test_near_duplicates_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now, offset = datetime.now(UTC), [DAY]

    class AheadDatetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=offset[0])

    monkeypatch.setattr(near_duplicates_module, "datetime", AheadDatetime)
    near_duplicates = NearDuplicates(NearDuplicatesConfig(enabled=True))

    def come(at: datetime, number: int) -> bool:
        key = f"cam/{at:%Y/%m/%d/%H}/cam-{at:%Y%m%dT%H%M%S.%f}Z-{number:08}.jpg"
        entry = Entry(key, 1, 0, "")
        job = Job(SimpleNamespace(entry=entry), entry)  # type: ignore[arg-type]
        job.image = SimpleNamespace(perceptual_hash=0)  # type: ignore[assignment]
        near_duplicates.leased(job)
        verdicts = near_duplicates.decoded(job)
        if verdicts.to_caption:
            near_duplicates.ended(job, SimpleNamespace(status="captioned"))  # type: ignore[arg-type]
        return bool(verdicts.duplicates)

    come(now + timedelta(days=1), 0)
    offset[0] = 0.0
    assert sum(come(now + timedelta(seconds=number), number) for number in range(1, 30)) >= 27


def test_card_of_the_live_page_moves_on() -> None:
    state, now = LiveState(), time.time()

    def shown(at: float, key: str) -> LiveFrame:
        return LiveFrame(key, "cam", at, at, None, "captioned", "A dog.", 0.5, False, None, None, "")

    state.add(shown(now + DAY, "old"))
    state.add(shown(now, "new"))
    assert state.cameras("", 10, "")[0][0].key == "new"


def test_retry_of_a_truncated_frame_of_the_future_ends(tmp_path: Path) -> None:
    data = encoded(scene(64, 64))
    frame = tmp_path / "frames" / "cam" / "a.jpg"
    frame.parent.mkdir(parents=True)
    frame.write_bytes(data[: len(data) // 2])
    os.utime(frame, (time.time() + 3600,) * 2)
    options = ("--frames", tmp_path / "frames", "--set", "ingest.settle_seconds=1", "--runtime", "null")
    command.run("work", "--once", *options, cwd=tmp_path)
    path = frame.with_name("a.jpg.json")
    assert json.loads(path.read_text())["status"] == "failed"
    command.run("retry", *options, cwd=tmp_path, timeout=40)
    assert json.loads(path.read_text())["status"] == "failed"
