"""Scan after scan: what a pass finds, what it costs, how it goes on through trouble, and how it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from framecap.config import IngestConfig
from framecap.errors import StoreUnavailable
from framecap.ingest.scanner import ScanIngest
from framecap.ingest.wall_clock import WallClock
from framecap.stores.base import CommitResult
from tests.ingest.scan_bench import DEADLINE, Bench, both


def test_new_cameras_and_late_frames_are_found_by_incremental_scans(bench: Bench) -> None:
    bench.put("east/2026/11/22/12/east-20261122T120000.000000Z-00000000.jpg")
    with bench.ingest(hints=False) as ingest:
        bench.caption(bench.lease(ingest))
        for key in [
            "east/2026/11/22/11/east-20261122T113000.000000Z-00000001.jpg",
            "west/2026/11/22/01/west-20261122T013000.000000Z-00000001.jpg",
            "photos/a.jpg",
            "b.jpg",
        ]:
            bench.put(key)
            bench.caption(bench.lease(ingest))
    bench.check(5)


def test_what_sorts_before_the_watermark_is_found_by_a_full_scan(bench: Bench) -> None:
    bench.put("east/2026/11/22/12/east-20261122T120000.000000Z-00000000.jpg")
    with bench.ingest(hints=False, full_scan_seconds=1.0) as ingest:
        bench.caption(bench.lease(ingest))
        bench.put("east/2020/11/22/11/east-20201122T113000.000000Z-00000001.jpg")
        bench.caption(bench.lease(ingest))
    bench.check(2)


@both
def test_a_backlog_larger_than_memory_is_done_in_order_and_fairly(
    bench: Bench, hints: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2500 frames some 600 are in memory at most; a camera that comes last has its turn at once."""
    monkeypatch.setattr("framecap.ingest.scanner.LIMIT", 100)
    monkeypatch.setattr("framecap.ingest.scanner._REFILL_SECONDS", 0.01)
    expected = [f"{folder}{number:04}.jpg" for folder in ("", "a/", "b/2026/", "c/") for number in range(600)]
    expected += [f"z/{number}.jpg" for number in range(100)]
    for key in expected:
        bench.put(key)
    order: list[str] = []
    with bench.ingest(hints) as ingest:
        ends = time.monotonic() + 2 * DEADLINE
        while not ingest.exhausted():
            assert time.monotonic() < ends, ingest.backlog()
            assert len(ingest.pending._items) <= 100 + 5 * 200
            if (lease := ingest.lease(0.02)) is not None:
                order.append(lease.entry.key)
                bench.caption(lease)
                if len(order) == 1000:
                    bench.put("z/new.jpg")  # told of, or found, beside a backlog
    bench.check(len(expected) + 1)
    assert max(order.index(key) for key in expected if key.startswith("z/")) < 1000, "it does not wait for the others"
    for folder in ("0", "a/", "b/", "c/"):
        mine = [key for key in order if key.startswith(folder)]
        assert mine == sorted(mine), "a camera's frames come in the order of their keys"


def test_an_unfinished_frame_is_not_settled_because_the_clock_was_set(bench: Bench) -> None:
    clock = WallClock()
    with bench.ingest(hints=True, settle_seconds=10.0) as ingest:
        ingest._clock = clock
        bench.put("torn.jpg", b"torn")
        lease = bench.lease(ingest)
        clock._wall = lambda: time.time() + 3600
        assert lease.settles_in() > 5, "an hour forward: its file only seems to be old"
        lease.done()


@pytest.mark.parametrize(
    ("took", "full", "hints", "pause"),
    [
        (0.01, False, False, 2.0),
        (0.5, False, False, 5.0),
        (4.0, False, False, 10.0),
        (4.0, False, True, 60.0),
        (40.0, False, False, 40.0),
        (40.0, True, False, 10.0),
    ],
)
def test_after_a_slow_scan_there_is_a_pause_with_an_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, took: float, full: bool, hints: bool, pause: float
) -> None:
    ingest = ScanIngest(IngestConfig(scan_seconds=2.0), bench.store, bench.root if hints else None)
    seen: list[float] = []
    now = time.monotonic()
    monkeypatch.setattr("framecap.ingest.scanner.time.monotonic", lambda: now)
    monkeypatch.setattr(ingest, "_is_over", lambda due, *_: seen.append(due - now) or True)
    ingest._pause(took, full)
    assert seen == [pytest.approx(pause)]


@pytest.mark.faults(18)
def test_an_outage_is_reported_once_and_heals_with_nothing_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        bench.put(f"cam/{number}.jpg")
    away = bench.root.with_name("away")
    with bench.ingest(hints=True, scan_seconds=0.05) as ingest, caplog.at_level(logging.INFO):
        in_flight_messages = [bench.lease(ingest) for _ in range(2)]
        bench.root.rename(away)
        while "cannot scan" not in caplog.text:
            time.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            in_flight_messages[0].settles_in()
        time.sleep(0.3)  # several scans in vain
        assert not ingest.exhausted()
        assert caplog.text.count("cannot scan") == 1
        assert ingest.backlog().pending == 3
        away.rename(bench.root)
        bench.put("cam/new.jpg")
        for lease in in_flight_messages:
            bench.caption(lease)
        bench.run(ingest)
        assert "scans work again" in caplog.text
    bench.check(4)


def test_exhausted_only_after_a_scan_that_began_after_the_last_lease_ended(bench: Bench) -> None:
    bench.put("a.jpg")
    with bench.ingest(hints=False, scan_seconds=0.1) as ingest:
        lease = bench.lease(ingest)
        for _ in range(20):
            assert not ingest.exhausted()
            time.sleep(0.01)
        bench.put("b.jpg")
        bench.caption(lease)
        assert not ingest.exhausted()
        bench.run(ingest)
    bench.check(2)


def test_closing_ends_a_waiting_lease_and_leaves_held_ones_valid(bench: Bench) -> None:
    bench.put("a.jpg")
    with bench.ingest(hints=True) as ingest:
        lease = bench.lease(ingest)
        waiter = threading.Thread(target=ingest.lease, args=(60,))
        waiter.start()
        ingest.close()
        waiter.join(5)
        assert not waiter.is_alive()
        assert bench.caption(lease) is CommitResult.COMMITTED
        for end in (lease.done, lambda: lease.release(1)):
            with pytest.raises(RuntimeError, match="ended already"):
                end()
    assert [thread.name for thread in threading.enumerate() if "framecap" in thread.name] == []


@pytest.mark.faults(4)
def test_a_burst_that_overflows_the_kernels_queue(
    bench: Bench, full: bool, figure: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """While the observer's reader is held up, more files appear than the kernel remembers events of."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    frames = 120_000 if full else limit // 2 + 1000  # each file is two events: created, closed
    folder = bench.root / "cam"
    folder.mkdir()
    with bench.ingest(hints=True, scan_seconds=0.5) as ingest:
        bench.run(ingest)
        assert ingest._watch is not None
        with ingest._watch._observer._inotify_fd._lock:
            for number in range(frames):
                (folder / f"{number}.jpg").write_bytes(b"x")
        began = time.monotonic()
        leased = set()
        while len(leased) < frames:
            lease = bench.lease(ingest, 60)  # the scan of so many takes its time on a busy machine
            leased.add(lease.entry.key)
            lease.done()
        figure(f"{frames} frames, all leased {time.monotonic() - began:.1f} s after the last was written")
        assert ingest.backlog().in_flight == 0
        assert "overflowed" in caplog.text or "events were missed" in caplog.text, (
            "the burst was too small to prove anything"
        )
