"""A bucket behind a faulty way: answers are lost, the server is overloaded or away, the writer dies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from framecap.config import IngestConfig, S3Config, WorkerConfig
from framecap.errors import StoreUnavailable
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import CommitResult, PutResult
from framecap.telemetry import store_errors
from tests.command import environment
from tests.proxy import Fault, Proxy, Request
from tests.s3 import Bucket
from tests.stores.faulty import DATA, KEY, OTHER, faults, known
from tests.worker.fakes import work
from tests.worker.images import encoded, scene

IMAGE = encoded(scene(32, 24))
STEADY = IngestConfig(scan_seconds=0.2)


def check(bucket: Bucket, frames: int, committed: list[Sidecar]) -> None:
    """Every frame has one valid sidecar, and none was committed twice."""
    keys = [path for path in bucket.paths() if path.endswith(".jpg")]
    assert len(keys) == frames
    for key in keys:
        assert sidecar.decode(bucket.get(f"{key}.json")).frame.key == key
    counted = Counter(one.frame.key for one in committed)
    assert [key for key, times in counted.items() if times > 1] == []


@pytest.mark.faults(20)
@pytest.mark.parametrize("lost", [Fault.ANSWER_LOST, Fault.ANSWER_HELD])
def test_a_put_whose_answer_is_lost_is_ours(bucket: Bucket, proxied: Proxy, lost: Fault) -> None:
    store = known(bucket.store(url=proxied.url, read_timeout_seconds=0.3))
    before = len(bucket.paths())
    proxied.decide = faults(lost)
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, DATA) is CommitResult.ALREADY_THERE
    proxied.decide = faults(lost)
    assert store.put_frame(KEY, b"frame") is PutResult.STORED
    bucket.put("cam/torn.jpg.json", b"torn")
    proxied.decide = faults(lost)
    assert store.replace_sidecar("cam/torn.jpg", DATA, if_match=b"torn") is CommitResult.COMMITTED
    bucket.put("cam/empty.jpg.json", b"")
    proxied.decide = faults(Fault.NONE, lost)
    assert store.commit_sidecar("cam/empty.jpg", DATA) is CommitResult.COMMITTED
    assert len(bucket.paths()) == before + 4


@pytest.mark.faults(20)
def test_a_put_all_of_whose_answers_are_lost_is_ours(bucket: Bucket, proxied: Proxy) -> None:
    """As when there were so many failures that botocore tries nothing twice any more."""
    store = known(bucket.store(url=proxied.url, attempts=1))
    bucket.put("cam/torn.jpg.json", b"torn")
    proxied.decide = lambda request: Fault.ANSWER_LOST if request.method == "PUT" else Fault.NONE
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.put_frame(KEY, b"frame") is PutResult.STORED
    assert store.replace_sidecar("cam/torn.jpg", DATA, if_match=b"torn") is CommitResult.COMMITTED
    proxied.decide = lambda request: Fault.RESET if request.method == "PUT" else Fault.NONE
    for use in (lambda: store.commit_sidecar(KEY, OTHER), lambda: store.put_frame("cam/b.jpg", b"frame")):
        with pytest.raises(StoreUnavailable):
            use()


@pytest.mark.faults(20)
def test_a_lost_answer_does_not_make_another_ones_sidecar_ours(bucket: Bucket, proxied: Proxy) -> None:
    store = known(bucket.store(url=proxied.url))
    bucket.put(f"{KEY}.json", OTHER)
    proxied.decide = faults(Fault.BUSY)
    assert store.commit_sidecar(KEY, DATA) is CommitResult.ALREADY_THERE
    proxied.decide = faults(Fault.BUSY)
    assert store.replace_sidecar(KEY, DATA, if_match=b"torn") is CommitResult.ALREADY_THERE
    assert bucket.get(f"{KEY}.json") == OTHER


@pytest.mark.faults(20)
def test_every_commit_of_a_worker_loses_its_answer(
    bucket: Bucket, proxied: Proxy, full: bool, figure: Callable[[str], None]
) -> None:
    frames = 1000 if full else 25
    for number in range(frames):
        bucket.put(f"cam/{number}.jpg", IMAGE)
    seen: Counter[str] = Counter()

    def lose_the_first(request: Request) -> Fault:
        if request.method == "PUT":
            seen[request.path] += 1
        return Fault.ANSWER_LOST if request.method == "PUT" and seen[request.path] == 1 else Fault.NONE

    proxied.decide = lose_the_first
    done = work(bucket.store(url=proxied.url), looking=STEADY)
    check(bucket, frames, done.committed)
    assert done.summary.captioned == frames, "each is counted as committed by us, once"
    figure(f"{frames} commits whose answer was lost: {done.summary.captioned} counted, {len(bucket.paths())} objects")


@pytest.mark.faults(19)
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET])
def test_calls_are_tried_as_often_as_configured_and_no_oftener(bucket: Bucket, proxied: Proxy, fault: Fault) -> None:
    store = known(bucket.store(url=proxied.url, attempts=2))
    bucket.put(KEY, b"x")
    for use in (lambda: store.commit_sidecar(KEY, DATA), lambda: store.read(KEY, 10), lambda: list(store.list())):
        proxied.requests.clear()
        proxied.decide = lambda request: fault
        with pytest.raises(StoreUnavailable, match="it is tried again"):
            use()
        assert set(proxied.tries().values()) == {2}
        failures = iter([fault])
        proxied.decide = lambda request, failures=failures: next(failures, Fault.NONE)
        use()


@pytest.mark.faults(19)
def test_a_third_of_all_calls_fail(bucket: Bucket, proxied: Proxy, full: bool, figure: Callable[[str], None]) -> None:
    frames = 2000 if full else 30
    for number in range(frames):
        bucket.put(f"cam-{number % 3}/{number}.jpg", IMAGE)
    dice = random.Random(19)
    bad = [Fault.BUSY, Fault.RESET, Fault.SILENCE, Fault.ANSWER_LOST, Fault.ANSWER_TRUNCATED, Fault.ANSWER_HELD]
    lock = threading.Lock()

    def decide(request: Request) -> Fault:
        with lock:
            return dice.choice(bad) if dice.random() < 0.3 else Fault.NONE

    store = bucket.store(url=proxied.url, read_timeout_seconds=0.5)
    proxied.decide = decide
    done = work(store, config=WorkerConfig(decoders=1, queue=16), looking=STEADY)
    check(bucket, frames, done.committed)
    most = max(proxied.tries().values())
    assert most <= S3Config().attempts
    figure(f"{frames} frames, {len(proxied.requests)} requests, 30% failed: 0 lost, {most} tries of a call at most")


@pytest.mark.faults(18)
def test_a_server_that_goes_away_and_comes_back(bucket: Bucket, proxied: Proxy, figure: Callable[[str], None]) -> None:
    frames = 40
    for number in range(frames):
        bucket.put(f"cam/{number}.jpg", IMAGE)
    store = bucket.store(url=proxied.url, attempts=1)
    away = threading.Event()
    refused = 0

    def decide(request: Request) -> Fault:
        nonlocal refused
        if not away.is_set() or refused >= 30:
            return Fault.NONE
        refused += 1
        return (Fault.RESET, Fault.DENIED, Fault.BUSY)[refused % 3]

    proxied.decide = decide
    done = work(store, on_commit=lambda made: away.set(), looking=STEADY)
    check(bucket, frames, done.committed)
    assert done.summary.captioned + done.summary.already_there == frames
    figure(f"{frames} frames, {refused} calls refused in the middle: 0 lost, 0 failed")


@pytest.mark.faults(18)
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.DENIED, Fault.RESET, Fault.SILENCE])
def test_outage_is_an_outage_counted_and_heals(bucket: Bucket, proxied: Proxy, fault: Fault) -> None:
    patience = 1.0 if fault is Fault.SILENCE else 30.0  # a busy machine is slow to answer, too
    store = known(bucket.store(url=proxied.url, attempts=1, read_timeout_seconds=patience))
    uses: dict[str, Callable[[], object]] = {
        "write": lambda: store.commit_sidecar(KEY, DATA),
        "read": lambda: store.read_sidecar(KEY),
        "stat": lambda: store.stat("known/known.jpg"),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete(KEY),
    }
    for operation, use in uses.items():
        before = store_errors.labels(operation=operation)._value.get()
        proxied.decide = lambda request: fault
        with pytest.raises(StoreUnavailable) as caught:
            use()
        assert caught.value.retryable
        assert "botocore" not in str(caught.value)
        assert bucket.server.secret_key not in str(caught.value)
        assert bucket.server.access_key not in str(caught.value)
        assert store_errors.labels(operation=operation)._value.get() == before + 1
        proxied.decide = lambda request: Fault.NONE
        use()


def test_an_answer_that_breaks_off_is_asked_for_again(bucket: Bucket, proxied: Proxy) -> None:
    store = bucket.store(url=proxied.url)
    bucket.put(KEY, b"x" * 100_000)
    truncated = iter([Fault.ANSWER_TRUNCATED, Fault.ANSWER_TRUNCATED])
    proxied.decide = lambda request: next(truncated, Fault.NONE)
    assert store.read(KEY, 1_000_000) == b"x" * 100_000
    proxied.decide = lambda request: Fault.ANSWER_TRUNCATED
    with pytest.raises(StoreUnavailable):
        store.read(KEY, 1_000_000)


@pytest.mark.faults(2)
def test_killed_at_each_step_of_the_commit(bucket: Bucket, full: bool, figure: Callable[[str], None]) -> None:
    """Before it hears the answer (full: before and within everything that it sends, too): old or new, never torn."""
    mode = "everything" if full else "answers"
    command = [sys.executable, "-m", "tests.stores.killed", mode, bucket.address, bucket.server.url]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, env=environment()).stdout
    deaths = [json.loads(line) for line in output.splitlines()]
    figure(f"s3: {sum(death['died'] for death in deaths)} steps")
    for before in ("absent", "empty", "existing"):
        mine = [death for death in deaths if death["before"] == before]
        assert mine[-1]["state"] == "new", "the last one was not killed"
        assert {death["state"] for death in mine} == {"old" if before == "existing" else "absent", "new"}
        for death in mine:
            assert death["whole"], "the frame ends in one sidecar"
            # what the dead one had sent may still have been under way when its successor looked
            allowed = {"ALREADY_THERE"} if death["state"] == "new" else {"COMMITTED", "ALREADY_THERE"}
            assert death["again"] in allowed
        assert mine[0]["again"] == "COMMITTED", "before the first step nothing was sent"
