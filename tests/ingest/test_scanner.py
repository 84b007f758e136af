"""The ingest on a real directory: every frame that appears, however it appears, is leased once until it is done."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import FrameGone, StoreUnavailable
from framecap.ingest import open_ingest
from framecap.ingest.scanner import ScanIngest, ScanLease
from framecap.ingest.wall_clock import WallClock
from framecap.stores import open_store
from framecap.stores.base import Commit, Store

WHOLE = b'{"status": "captioned"}'
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

    def caption(self, lease: ScanLease) -> Commit:
        self.leased[lease.entry.key] += 1
        if lease.torn is None:
            outcome = self.store.commit_sidecar(lease.entry.key, WHOLE)
        else:
            outcome = self.store.replace_sidecar(lease.entry.key, WHOLE, if_match=lease.torn)
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


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "frames").mkdir()
    return Bench((tmp_path / "frames").resolve())


both = pytest.mark.parametrize("hints", [True, False], ids=["hints", "polling"])


@both
def test_what_is_there_at_the_start_is_captioned(bench: Bench, hints: bool) -> None:
    for number in range(300):
        bench.put(f"cam{number % 3}/{number}.jpg")
    for number in range(100):
        bench.put(f"cam0/done{number}.jpg")
        bench.put(f"cam0/done{number}.jpg.json", WHOLE)
        bench.leased[f"cam0/done{number}.jpg"] = 1
    with bench.ingest(hints) as ingest:
        bench.run(ingest)
    bench.check(400)


def rename_in(bench: Bench, number: int) -> None:
    bench.put(f"cam/{number}.tmp").rename(bench.root / f"cam/{number}.jpg")


def move_in(bench: Bench, number: int) -> None:
    outside = bench.root.parent / f"{number}.jpg"
    outside.write_bytes(b"frame")
    (bench.root / "cam").mkdir(exist_ok=True)
    outside.rename(bench.root / "cam" / outside.name)


def move_in_a_folder(bench: Bench, number: int) -> None:
    outside = bench.root.parent / f"folder{number}"
    (outside / "a" / "b").mkdir(parents=True)
    (outside / "a" / "b" / "c.jpg").write_bytes(b"frame")
    outside.rename(bench.root / outside.name)


def copy_in_a_folder(bench: Bench, number: int) -> None:
    outside = bench.root.parent / "source"
    (outside / "a" / "b").mkdir(parents=True, exist_ok=True)
    (outside / "a" / "b" / "c.jpg").write_bytes(b"frame")
    shutil.copytree(outside, bench.root / f"folder{number}")


def link_in(bench: Bench, number: int) -> None:
    bench.store.put_frame(f"cam{number}/{number}.jpg", b"frame")


def write(bench: Bench, number: int) -> None:
    bench.put(f"cam{number}/{number}.jpg")


@pytest.mark.faults(7)
@both
@pytest.mark.parametrize("appear", [rename_in, move_in, move_in_a_folder, copy_in_a_folder, link_in, write])
def test_however_frames_appear_each_is_captioned_once(
    bench: Bench, hints: bool, appear: Callable[[Bench, int], None]
) -> None:
    with bench.ingest(hints) as ingest:
        bench.run(ingest)
        for number in range(20):
            appear(bench, number)
        while sum(bench.leased.values()) < 20:
            bench.caption(bench.lease(ingest))
        bench.run(ingest)
    bench.check(20)


@pytest.mark.parametrize("appear", [rename_in, move_in, link_in, write])
def test_hints_alone_are_enough_and_quick(bench: Bench, appear: Callable[[Bench, int], None]) -> None:
    with bench.ingest(hints=True, scan_seconds=1000) as ingest:
        bench.run(ingest)
        (bench.root / "cam").mkdir(exist_ok=True)
        took = []
        for number in range(10):
            began = time.monotonic()
            appear(bench, number)
            bench.caption(bench.lease(ingest))
            took.append(time.monotonic() - began)
        assert sorted(took)[5] < 0.5
    bench.check(10)


@pytest.mark.faults(8)
def test_without_closed_events_two_looks_are_needed(bench: Bench) -> None:
    with bench.ingest(hints=False, scan_seconds=0.2) as ingest:
        bench.run(ingest)
        began = time.monotonic()
        bench.put("cam/a.jpg")
        bench.caption(bench.lease(ingest))
        assert time.monotonic() - began > 0.1
    bench.check(1)


@pytest.mark.faults(6)
@both
def test_a_slow_writer_is_waited_for(bench: Bench, hints: bool, full: bool, figure: Callable[[str], None]) -> None:
    """Written bit by bit: what a lease reads is the whole frame, or it settles and is given back."""
    pauses, pause = (250, 0.2) if full else (12, 0.05)
    whole = b"x" * pauses
    partial = 0

    def write_slowly() -> None:
        with (bench.root / "slow.jpg").open("wb", buffering=0) as stream:
            for _ in range(pauses):
                stream.write(b"x")
                time.sleep(pause)

    with bench.ingest(hints, scan_seconds=4 * pause, settle_seconds=20 * pause) as ingest:
        writer = threading.Thread(target=write_slowly)
        writer.start()
        while True:
            lease = bench.lease(ingest, timeout=pauses * pause + DEADLINE)
            if bench.store.read("slow.jpg", 1000) == whole:
                break
            partial += 1
            seconds = lease.settles_in()
            assert seconds > 0, "a frame that is being written never counts as settled"
            lease.release(seconds, counts=False)
        writer.join()
        assert lease.attempt == 1
        bench.caption(lease)
        bench.run(ingest)
    assert partial <= 1
    bench.check(1)
    how = "hints" if hints else "polling"
    figure(f"{pauses * pause:.0f} s for one frame, {how}: given back {partial} times, never captioned in part")


def test_a_truncated_frame_settles(bench: Bench) -> None:
    bench.put("old.jpg", b"torn")
    os.utime(bench.root / "old.jpg", (time.time() - 60,) * 2)
    with bench.ingest(hints=True, settle_seconds=0.4) as ingest:
        lease = bench.lease(ingest)
        assert lease.settles_in() == 0.0, "the file's own time tells that nobody writes it"
        bench.caption(lease)
        began = time.monotonic()
        bench.put("new.jpg", b"torn")
        lease = bench.lease(ingest)
        seconds = lease.settles_in()
        assert 0 < seconds <= 0.4
        lease.release(seconds, counts=False)
        lease = bench.lease(ingest)
        assert time.monotonic() - began >= 0.4
        assert (lease.settles_in(), lease.attempt) == (0.0, 1)
        bench.caption(lease)


@both
def test_an_empty_frame_is_leased_when_it_has_settled(bench: Bench, hints: bool) -> None:
    bench.put("empty.jpg", b"")
    with bench.ingest(hints, settle_seconds=0.4) as ingest:
        began = time.monotonic()
        lease = bench.lease(ingest)
        assert time.monotonic() - began > 0.2
        assert lease.settles_in() == 0.0


@pytest.mark.faults(31)
def test_a_torn_sidecar_is_done_again_and_an_old_one_is_left_alone(bench: Bench) -> None:
    for name, sidecar, age in [
        ("torn", b'{"status": "capt', 60),
        ("list", b"[]", 60),
        ("nested", b"[" * 100_000, 60),
        ("empty", b"", 7200),
        ("whole", WHOLE, 60),
        ("another-schema", b'{"status": "done", "schema_version": 0}', 60),
        ("torn-long-ago", b"{", 7200),
    ]:
        bench.put(f"{name}.jpg")
        path = bench.put(f"{name}.jpg.json", sidecar)
        os.utime(path, (time.time() - age,) * 2)
    with bench.ingest(hints=True) as ingest:
        bench.run(ingest)
    assert sorted(bench.leased) == ["empty.jpg", "list.jpg", "nested.jpg", "torn.jpg"]
    assert set(bench.leased.values()) == {1}
    for name in ("torn", "list", "nested", "empty"):
        assert bench.store.read_sidecar(f"{name}.jpg") == WHOLE


@both
@pytest.mark.parametrize("apart", [False, True], ids=["beside", "apart"])
def test_a_frame_whose_sidecars_place_is_taken_is_left_alone(tmp_path: Path, hints: bool, apart: bool) -> None:
    bench = Bench(tmp_path / "frames")
    sidecars = tmp_path / ("sidecars" if apart else "frames")
    bench.store = open_store(StoreConfig(frames=str(tmp_path / "frames"), sidecars=str(sidecars)))
    for name in ("folder", "link", "free"):
        bench.put(f"{name}.jpg")
    (sidecars / "folder.jpg.json").mkdir()
    (sidecars / "link.jpg.json").symlink_to("free.jpg")
    with bench.ingest(hints) as ingest:
        bench.run(ingest)
    assert bench.leased == Counter(["free.jpg"])
    assert bench.store.read_sidecar("free.jpg") == WHOLE


@both
def test_a_frame_replaced_in_hand_is_leased_again_unless_it_has_its_sidecar(bench: Bench, hints: bool) -> None:
    bench.put("a.jpg", b"first")
    bench.put("b.jpg", b"first")
    with bench.ingest(hints) as ingest:
        leases = {lease.entry.key: lease for lease in (bench.lease(ingest), bench.lease(ingest))}
        for key in leases:
            bench.put(key, b"the second one")
        while any(ingest.pending._items[key].entry.etag == lease.entry.etag for key, lease in leases.items()):
            time.sleep(0.01)  # until the ingest has seen it
        bench.caption(leases["b.jpg"])
        leases["a.jpg"].done()  # without a sidecar: the worker saw that it was replaced
        again = bench.lease(ingest)
        assert again.entry.key == "a.jpg"
        assert again.entry.size == len(b"the second one")
        bench.caption(again)
        bench.run(ingest)
    bench.check(2)


@pytest.mark.faults(32)
def test_a_frame_that_vanishes_is_dropped(bench: Bench) -> None:
    path = bench.put("a.jpg")
    with bench.ingest(hints=True) as ingest:
        lease = bench.lease(ingest)
        path.unlink()
        with pytest.raises(FrameGone):
            lease.settles_in()
        lease.done()
        bench.run(ingest)
    assert bench.leased == {}


def test_a_sidecar_that_another_wrote_ends_the_wait(bench: Bench) -> None:
    bench.put("a.jpg")
    with bench.ingest(hints=False, scan_seconds=0.1) as ingest:
        lease = bench.lease(ingest)
        lease.release(1000)
        bench.store.commit_sidecar("a.jpg", WHOLE)
        bench.run(ingest)


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
def test_an_outage_is_said_once_and_heals_with_nothing_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        bench.put(f"cam/{number}.jpg")
    away = bench.root.with_name("away")
    with bench.ingest(hints=True, scan_seconds=0.05) as ingest, caplog.at_level(logging.INFO):
        held = [bench.lease(ingest) for _ in range(2)]
        bench.root.rename(away)
        while "cannot scan" not in caplog.text:
            time.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            held[0].settles_in()
        time.sleep(0.3)  # several scans in vain
        assert not ingest.exhausted()
        assert caplog.text.count("cannot scan") == 1
        assert ingest.backlog().pending == 3
        away.rename(bench.root)
        bench.put("cam/new.jpg")
        for lease in held:
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
        assert bench.caption(lease) is Commit.COMMITTED
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
        assert ingest.backlog().in_hand == 0
        assert "overflowed" in caplog.text or "events were missed" in caplog.text, (
            "the burst was too small to prove anything"
        )
