"""The worker in trouble: a store that is away or closed, a decoder that lags, a commit that raises: no frame is lost."""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest

from framecap.config import IngestConfig, WorkerConfig
from framecap.decoding.pool import DecodedFrame, DecoderPool
from framecap.errors import FolderClosed, FrameUnreadable, StoreUnavailable
from framecap.stores.base import CommitResult, Store
from framecap.worker import model, run
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner, check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

GOOD = encoded(scene(64, 48))
ONE_DECODER = WorkerConfig(decoders=1)


class InOutage:
    """A store whose operations fail as often as `failures` says, by name."""

    def __init__(self, store: Store, failures: dict[str, int]) -> None:
        self._store = store
        self._failures = failures

    def __getattr__(self, name: str) -> object:
        if self._failures.get(name, 0) > 0:
            return partial(self._fail, name)
        return getattr(self._store, name)

    def _fail(self, name: str, *_: object) -> object:
        self._failures[name] -= 1
        raise StoreUnavailable(f"{name}: no space left on device")


def test_images_that_wait_for_a_decoder_take_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_UNDECODED_BYTES", 2 * len(GOOD))
    fill(tmp_path, {f"a/{n}.jpg": GOOD for n in range(20)} | {f"a/broken-{n}.jpg": b"<html>" * 10 for n in range(3)})
    store = local_store(tmp_path)
    waiting: list[int] = [0]

    class Reading(InOutage):
        def read(self, key: str, limit: int) -> bytes:
            waiting.append(waiting[-1] + 1)
            return store.read(key, limit)

    class Decoding(DecoderPool):
        def decode(self, data: bytes) -> DecodedFrame:
            time.sleep(0.02)
            waiting.append(waiting[-1] - 1)
            return super().decode(data)

    monkeypatch.setattr(model, "DecoderPool", Decoding)
    done = work(Reading(store, {"read": 0}))  # type: ignore[arg-type]
    check_oracle(tmp_path, done.committed)
    assert max(waiting) <= 2 + 3, "two that are whole, and those that hardly count"


def test_a_folder_that_is_another_thing_by_now_costs_its_frames_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD[:-2], "a/2.jpg": GOOD[:-3], "b/1.jpg": GOOD})
    store = local_store(tmp_path)

    class Decoding(DecoderPool):
        def decode(self, data: bytes) -> DecodedFrame:
            if (tmp_path / "a").is_dir():
                (tmp_path / "a").rename(tmp_path / ".away")
                (tmp_path / "a").write_text("a file")
            return super().decode(data)

    monkeypatch.setattr(model, "DecoderPool", Decoding)
    done = work(store, config=ONE_DECODER)
    assert [made.frame.key for made in done.committed] == ["b/1.jpg"]


@pytest.mark.faults(18)
@pytest.mark.parametrize("operation", ["stat", "read", "commit_sidecar"])
def test_a_store_that_is_away_fails_no_frame(tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.worker.store_backoff._FIRST_SECONDS", 0.02)
    fill(tmp_path, {f"a/{n}.jpg": GOOD for n in range(10)})
    store: Store = InOutage(local_store(tmp_path), {operation: 15})  # type: ignore[assignment]
    done = work(store, config=WorkerConfig(decoders=1, attempts=1))
    check_oracle(tmp_path, done.committed)
    assert done.summary.captioned == 10
    assert {lease.attempt for lease in done.leases} == {1}


@pytest.mark.faults(18)
def test_a_frame_that_may_not_be_read_yet_is_waited_for_and_holds_up_no_one(tmp_path: Path) -> None:
    """Some programs write under a name of mode 0600 and give the right to read it afterwards."""
    fill(tmp_path, {"a/closed.jpg": GOOD, "a/later.jpg": GOOD, "b/1.jpg": GOOD})
    read: list[str] = []

    class Closed(InOutage):
        def read(self, key: str, limit: int) -> bytes:
            read.append(key)
            if key == "a/closed.jpg" or (key == "a/later.jpg" and read.count(key) == 1):
                raise FrameUnreadable(f"{key}: this user may not read it")
            return store.read(key, limit)

    store = local_store(tmp_path)
    closed: Store = Closed(store, {"read": 0})  # type: ignore[assignment]
    settling = IngestConfig(scan_seconds=0.1, settle_seconds=3.0, hints="off")
    done = work(closed, config=WorkerConfig(attempts=1), looking=settling)
    assert done.committed[0].frame.key == "b/1.jpg"
    assert done.of("a/later.jpg").status == "captioned"
    error = done.of("a/closed.jpg").error
    assert error is not None
    assert error.kind == "unreadable"


def test_a_folder_that_takes_no_sidecars_costs_few_captions_and_holds_up_no_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("framecap.worker.closed_folders._FIRST_SECONDS", 0.05)
    monkeypatch.setattr("framecap.worker.closed_folders._MAX_SECONDS", 0.4)
    fill(tmp_path, {f"{folder}/{n:02d}.jpg": GOOD for n in range(40) for folder in ("closed", "open")})
    captioner = ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))
    refused: list[str] = []

    class Closed(InOutage):
        def commit_sidecar(self, key: str, data: bytes) -> CommitResult:
            if key.startswith("closed/") and len(refused) < 8 + 5:  # a hand of eight, and five tries of one
                refused.append(key)
                raise FolderClosed(f"cannot write at {key}")
            return store.commit_sidecar(key, data)

    store = local_store(tmp_path)
    closed: Store = Closed(store, {"read": 0})  # type: ignore[assignment]
    done = work(closed, captioner, WorkerConfig(decoders=1, queue=8, batch_size=4))
    check_oracle(tmp_path, done.committed)
    assert sum(captioner.batches) == 80 + len(refused), "what was captioned for nothing"
    order = [made.frame.key for made in done.committed]
    assert all(key.startswith("open/") for key in order[:30]), "the other folder goes on"
    assert caplog.text.count("frames of one folder wait") == 1


def test_in_outage_one_frame_at_a_time_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.worker.store_backoff._FIRST_SECONDS", 0.02)
    fill(tmp_path, {f"a/{n:02d}.jpg": GOOD for n in range(50)})
    captioner = ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))
    store: Store = InOutage(local_store(tmp_path), {"commit_sidecar": 56})  # type: ignore[assignment]
    done = work(store, captioner)
    assert done.summary.captioned == 50
    alone = max(len(list(run)) for size, run in groupby(captioner.batches) if size == 1)
    assert alone >= 6, captioner.batches  # the hand that failed would else come again in batches


class Odd:
    """A store whose commits raise what no store should, for one frame."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tries = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit_sidecar(self, key: str, data: bytes) -> CommitResult:
        self.tries += 1
        if self.tries == 1:
            raise ZeroDivisionError
        return self._store.commit_sidecar(key, data)


def test_a_commit_that_raises_anything_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.worker.store_backoff._FIRST_SECONDS", 0.02)
    fill(tmp_path, {"a/1.jpg": GOOD})
    store: Store = Odd(local_store(tmp_path))  # type: ignore[assignment]
    done = work(store)
    check_oracle(tmp_path, done.committed)
    assert [lease.ended for lease in done.leases] == [["given back"], ["done"]]
