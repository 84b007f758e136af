"""The ingest on a real directory: every frame that appears, however it appears, is leased once until it is done."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from framecap.config import StoreConfig
from framecap.errors import FrameGone
from framecap.stores import open_store
from tests.ingest.scan_bench import DEADLINE, WHOLE, Bench, both


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
def test_a_truncated_sidecar_is_done_again_and_an_old_one_is_left_alone(bench: Bench) -> None:
    for name, sidecar, age in [
        ("torn", b'{"status": "capt', 60),
        ("foreign", b"[]", 60),
        ("nested", b"[" * 100_000, 60),
        ("empty", b"", 7200),
        ("whole", WHOLE, 60),
        ("another-schema", b'{"status": "done", "frame": {}, "schema_version": 0}', 60),
        ("torn-long-ago", b"{", 7200),
    ]:
        bench.put(f"{name}.jpg")
        path = bench.put(f"{name}.jpg.json", sidecar)
        os.utime(path, (time.time() - age,) * 2)
    with bench.ingest(hints=True) as ingest:
        bench.run(ingest)
    assert sorted(bench.leased) == ["empty.jpg", "nested.jpg", "torn.jpg"]
    assert set(bench.leased.values()) == {1}
    for name in ("torn", "nested", "empty"):
        assert bench.store.read_sidecar(f"{name}.jpg") == WHOLE


@both
@pytest.mark.parametrize("apart", [False, True], ids=["beside", "apart"])
def test_a_frame_whose_sidecars_address_is_taken_is_left_alone(tmp_path: Path, hints: bool, apart: bool) -> None:
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
        retry_later = bench.lease(ingest)
        assert retry_later.entry.key == "a.jpg"
        assert retry_later.entry.size == len(b"the second one")
        bench.caption(retry_later)
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
