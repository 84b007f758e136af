"""What is about one object, or about one condition, is no trouble of the bucket (row 37): denied objects, folder markers,
servers that refuse conditional writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from framecap.config import IngestConfig, WorkerConfig
from framecap.errors import FrameUnreadable, StoreUnavailable
from framecap.stores.base import CommitResult, PutResult
from framecap.telemetry import health
from tests.proxy import ERROR, Proxy, Request
from tests.s3 import Bucket
from tests.stores.faulty import DATA, KEY, OTHER
from tests.worker.fakes import work
from tests.worker.images import encoded, scene

IMAGE = encoded(scene(32, 24))
SETTLING = IngestConfig(scan_seconds=0.1, settle_seconds=0.3)
NOT_IMPLEMENTED = (501, ERROR % (b"NotImplemented", b"A header you provided implies functionality that is not implemented"))
UNSUPPORTED = (400, ERROR % (b"InvalidArgument", b"Unsupported header 'if-none-match' received for this API call."))
FOREIGN_OWNER = (403, ERROR % (b"AccessDenied", b"Access Denied"))
CUSTOMER_KEY = (400, ERROR % (b"InvalidRequest", b"The object was stored using a form of Server Side Encryption."))
EXPIRED = (400, ERROR % (b"ExpiredToken", b"The provided token has expired."))

Answer = tuple[int, bytes]


def conditional(answer: Answer, *headers: str) -> Callable[[Request], Answer | None]:
    """The answer to every write with one of these conditions."""
    return lambda request: answer if request.method == "PUT" and set(headers) & set(request.headers) else None


def about(path: str, answer: Answer, *methods: str) -> Callable[[Request], Answer | None]:
    """The answer to every look at one object."""
    return lambda request: answer if request.path.endswith(path) and request.method in methods else None


# Conditions


@pytest.mark.faults(37)
@pytest.mark.parametrize("answer", [NOT_IMPLEMENTED, UNSUPPORTED], ids=["501", "400"])
def test_a_server_that_refuses_conditions_is_looked_at_and_then_written_to(
    bucket: Bucket, proxied: Proxy, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    proxied.answers = conditional(answer, "if-none-match", "if-match")
    store = bucket.store(url=proxied.url)
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, OTHER) is CommitResult.ALREADY_THERE
    assert store.replace_sidecar(KEY, OTHER, if_match=b"another one") is CommitResult.ALREADY_THERE
    assert bucket.get(f"{KEY}.json") == DATA
    assert store.replace_sidecar(KEY, OTHER, if_match=DATA) is CommitResult.COMMITTED
    assert bucket.get(f"{KEY}.json") == OTHER
    bucket.put("cam/b.jpg.json", b"")
    assert store.commit_sidecar("cam/b.jpg", DATA) is CommitResult.COMMITTED
    assert store.put_frame("cam/b.jpg", b"x") is PutResult.STORED
    reported = [record.message for record in caplog.records if "conditional writes" in record.message]
    assert len(reported) == 1, "it is reported once"
    assert "this server refuses" in reported[0]


@pytest.mark.faults(37)
def test_a_server_that_refuses_only_to_replace_keeps_what_it_promises(bucket: Bucket, proxied: Proxy) -> None:
    proxied.answers = conditional(NOT_IMPLEMENTED, "if-match")
    store = bucket.store(url=proxied.url)
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.replace_sidecar(KEY, OTHER, if_match=DATA) is CommitResult.COMMITTED
    wrong = [finding.what for finding in store.probe() if not finding.ok]
    assert wrong == ["refuse to replace what is not expected"]


@pytest.mark.parametrize("answer", [NOT_IMPLEMENTED, UNSUPPORTED], ids=["501", "400"])
def test_check_says_what_such_a_server_does(bucket: Bucket, proxied: Proxy, answer: Answer) -> None:
    proxied.answers = conditional(answer, "if-none-match", "if-match")
    findings = {finding.what: finding for finding in bucket.store(url=proxied.url).probe()}
    assert findings["write an object and read it back"].ok
    again = findings["refuse to create it again"]
    assert not again.ok
    assert "this server refuses conditional writes" in again.meaning
    assert bucket.paths() == []


def test_a_write_that_is_refused_for_another_reason_stays_refused(bucket: Bucket, proxied: Proxy) -> None:
    proxied.answers = lambda request: UNSUPPORTED if request.method == "PUT" else None
    store = bucket.store(url=proxied.url)
    with pytest.raises(StoreUnavailable, match="Unsupported header"):
        store.commit_sidecar(KEY, DATA)
    proxied.answers = conditional(NOT_IMPLEMENTED, "if-match")
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.commit_sidecar("cam/b.jpg", DATA) is CommitResult.COMMITTED
    assert any("if-none-match" in request.headers for request in proxied.requests[-2:]), "nothing was learned from it"


# One object


@pytest.mark.parametrize("answer", [FOREIGN_OWNER, CUSTOMER_KEY], ids=["403", "SSE-C"])
@pytest.mark.parametrize("methods", [("GET",), ("GET", "HEAD")], ids=str)
def test_a_denied_object_is_unreadable_and_a_denied_bucket_is_away(
    bucket: Bucket, proxied: Proxy, answer: Answer, methods: tuple[str, ...]
) -> None:
    bucket.put("cam/a.jpg", b"a")
    bucket.put("cam/b.jpg", b"b")
    store = bucket.store(url=proxied.url)
    proxied.answers = about("cam/a.jpg", answer, *methods)
    with pytest.raises(FrameUnreadable, match="this one object"):
        store.read("cam/a.jpg", 100)
    assert store.read("cam/b.jpg", 100) == b"b"
    proxied.answers = lambda request: answer if request.method in ("GET", "HEAD") else None
    with pytest.raises(StoreUnavailable):
        store.read("cam/a.jpg", 100)


def test_expired_credentials_are_no_fault_of_an_object(bucket: Bucket, proxied: Proxy) -> None:
    bucket.put("cam/a.jpg", b"a")
    store = bucket.store(url=proxied.url)
    proxied.answers = about("cam/a.jpg", EXPIRED, "GET")
    with pytest.raises(StoreUnavailable, match="expired"):
        store.read("cam/a.jpg", 100)


@pytest.mark.faults(37)
@pytest.mark.parametrize("answer", [FOREIGN_OWNER, CUSTOMER_KEY], ids=["403", "SSE-C"])
@pytest.mark.parametrize("methods", [("GET",), ("GET", "HEAD")], ids=str)
def test_a_denied_object_fails_with_its_reason_and_delays_no_other(
    bucket: Bucket,
    proxied: Proxy,
    answer: Answer,
    methods: tuple[str, ...],
    full: bool,
    figure: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("framecap.worker.run._UNREADABLE_SECONDS", 0.2)
    others = 300 if full else 20
    for number in range(others):
        bucket.put(f"cam/{number:03}.jpg", IMAGE)
    bucket.put("cam/a.jpg", IMAGE)
    proxied.answers = about("cam/a.jpg", answer, *methods)
    troubles: list[object] = []
    store = bucket.store(url=proxied.url)
    done = work(
        store, config=WorkerConfig(decoders=1), on_commit=lambda _: troubles.append(health.not_ready()), looking=SETTLING
    )
    failed = done.of("cam/a.jpg")
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.kind == "unreadable"
    assert len(done.committed) == others + 1
    assert not any(troubles), "one object does not make the worker unready"
    figure(f"{others} frames beside one that is denied ({answer[0]}): it alone failed, ready all the time")


def test_the_folder_marker_of_a_console_breaks_no_listing(bucket: Bucket) -> None:
    bucket.put("cams/", b"")
    bucket.put("cams/door/", b"")
    bucket.put("cams/door/a.jpg", IMAGE)
    for address in ("cams", ""):
        store = bucket.store(address)
        (entry,) = store.list()
        assert entry.key.endswith("door/a.jpg")
        assert [item if isinstance(item, str) else item.key for item in store.top()] == [entry.key.split("/")[0] + "/"]
