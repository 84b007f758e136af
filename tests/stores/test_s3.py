"""A bucket: what is asked of its server, servers that promise less, clear words for what is wrong, sidecars elsewhere."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framecap.config import IngestConfig, S3Config, StoreConfig
from framecap.errors import ConfigError, FramecapError, FrameGone, KeyRefused, MissingError, StoreUnavailable
from framecap.stores import open_store
from framecap.stores.base import CommitResult, PutResult
from framecap.stores.s3_client import S3Address, parse_address
from tests.command import environment
from tests.proxy import Fault, Proxy
from tests.s3 import Bucket
from tests.stores.faulty import DATA, KEY, OTHER, faults, known
from tests.worker.fakes import work
from tests.worker.images import encoded, scene

IMAGE = encoded(scene(32, 24))
STEADY = IngestConfig(scan_seconds=0.2)


# What is asked of the server


@pytest.mark.parametrize("encryption", ["AES256", "aws:kms"])
def test_frames_and_sidecars_carry_what_the_configuration_says(bucket: Bucket, proxied: Proxy, encryption: str) -> None:
    store = bucket.store(
        url=proxied.url, encryption=encryption, kms_key="alias/frames", storage_class="STANDARD_IA", attempts=1
    )
    proxied.decide = faults(Fault.DENIED, Fault.DENIED)  # the server of the tests has no keys
    with pytest.raises(StoreUnavailable):
        store.put_frame("cam/a.png", b"x")
    with pytest.raises(StoreUnavailable):
        store.commit_sidecar("cam/a.png", DATA)
    frame, record = [request.headers for request in proxied.requests if request.method == "PUT"]
    assert (frame["content-type"], frame["x-amz-storage-class"]) == ("image/png", "STANDARD_IA")
    assert (record["content-type"], record.get("x-amz-storage-class")) == ("application/json", None)
    for headers in (frame, record):
        assert headers["x-amz-server-side-encryption"] == encryption
        key = headers.get("x-amz-server-side-encryption-aws-kms-key-id")
        assert key == ("alias/frames" if encryption == "aws:kms" else None)
        assert headers["if-none-match"] == "*"
        assert "framecap/" in headers["user-agent"]


def test_a_known_server_is_asked_once_for_each_commit(bucket: Bucket, proxied: Proxy) -> None:
    store = known(bucket.store(url=proxied.url))
    proxied.requests.clear()
    for number in range(5):
        assert store.commit_sidecar(f"cam/{number}.jpg", DATA) is CommitResult.COMMITTED
    assert [request.method for request in proxied.requests] == ["PUT"] * 5


# Servers that promise less


def test_a_server_that_ignores_conditions_is_found_out_by_the_first_write_and_named(
    bucket: Bucket, proxied: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxied.dropped = frozenset({"if-none-match", "if-match"})
    store = bucket.store(url=proxied.url)
    assert store.put_frame(KEY, b"first") is PutResult.STORED
    assert [record.message for record in caplog.records if "ignores conditional writes" in record.message] != []
    caplog.clear()
    assert store.put_frame(KEY, b"second") is PutResult.ALREADY_THERE, "one writer alone never overwrites, even there"
    assert store.commit_sidecar(KEY, DATA) is CommitResult.COMMITTED
    assert store.commit_sidecar(KEY, OTHER) is CommitResult.ALREADY_THERE
    assert (bucket.get(KEY), bucket.get(f"{KEY}.json")) == (b"first", DATA)
    bucket.put("cam/b.jpg.json", b"")
    assert store.commit_sidecar("cam/b.jpg", DATA) is CommitResult.COMMITTED
    assert caplog.records == [], "it is said once"
    wrong = [finding for finding in store.probe() if not finding.ok]
    assert [finding.what for finding in wrong] == ["refuse to create it again", "refuse to replace what is not expected"]
    assert "give workers shards or a queue" in wrong[0].meaning


@pytest.mark.parametrize("before", [None, b"", b"there"])
def test_the_first_write_does_no_harm_whatever_is_there(bucket: Bucket, proxied: Proxy, before: bytes | None) -> None:
    for dropped in (frozenset[str](), frozenset({"if-none-match", "if-match"})):
        proxied.dropped = dropped
        store = bucket.store(url=proxied.url)
        key = f"cam/{len(dropped)}.jpg"
        if before is not None:
            bucket.put(key, before)
        assert store.put_frame(key, b"new") is (PutResult.ALREADY_THERE if before else PutResult.STORED)
        assert bucket.get(key) == (before or b"new")


def test_the_probe_leaves_its_object_where_no_one_may_delete(bucket: Bucket, proxied: Proxy) -> None:
    store = bucket.store(url=proxied.url)
    proxied.decide = lambda request: Fault.DENIED if request.method == "DELETE" else Fault.NONE
    for _ in range(2):
        findings = store.probe()
        assert all(finding.ok for finding in findings)
        assert "not allowed" in findings[-1].meaning
    assert bucket.paths() == [".framecap-probe.jpg.json"]
    assert list(store.list()) == []
    proxied.decide = lambda request: Fault.DENIED if request.method == "PUT" else Fault.NONE
    (finding,) = store.probe()
    assert not finding.ok
    assert "s3:PutObject" in finding.meaning


# What is wrong, in clear words


@pytest.mark.parametrize(
    ("address", "environment", "settings", "kind", "words"),
    [
        ("s3://nothing-here/x", {}, {}, ConfigError, "no such bucket: create it, or correct the address"),
        ("s3://frames/x", {"AWS_ACCESS_KEY_ID": "nobody"}, {}, ConfigError, "refuses these credentials"),
        ("s3://frames/x", {"AWS_SECRET_ACCESS_KEY": "guessed"}, {}, ConfigError, "refuses these credentials"),
        ("s3://frames/x", {"AWS_ACCESS_KEY_ID": ""}, {}, MissingError, "set AWS_ACCESS_KEY_ID"),
        ("s3://frames/x", {}, {"profile": "nobody"}, ConfigError, "nobody"),
        (
            "s3://frames/x",
            {},
            {"endpoint": "http://127.0.0.1:1", "attempts": 1},
            StoreUnavailable,
            "127.0.0.1:1 does not answer",
        ),
        ("s3://frames/x", {}, {"endpoint": "127.0.0.1:8333"}, ConfigError, "store.s3.endpoint"),
        ("s3://frames/x", {}, {"region": "no region"}, ConfigError, "region"),
        ("s3://", {}, {}, ConfigError, "store.frames: 's3://'"),
        ("s3://Frames_/../x", {}, {}, ConfigError, "the prefix"),
        ("s3://key:guessed@frames/x", {}, {}, ConfigError, "credentials come from the environment"),
    ],
)
def test_what_is_wrong_at_the_start_is_reported(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    environment: dict[str, str],
    settings: dict[str, object],
    kind: type[FramecapError],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3 = S3Config(**{"endpoint": bucket.server.url, "path_style": True, **settings})
    with pytest.raises(kind, match=words) as caught:
        open_store(StoreConfig(frames=address, s3=s3))
    for secret in (bucket.server.secret_key, "guessed", bucket.server.access_key):
        assert secret not in str(caught.value)


def test_access_denied_says_what_is_needed_and_is_no_hindrance_to_who_only_writes(
    bucket: Bucket, proxied: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxied.decide = lambda request: Fault.DENIED if request.method == "GET" else Fault.NONE
    with pytest.raises(ConfigError, match="give these credentials s3:ListBucket"):
        bucket.store(url=proxied.url)
    store = open_store(bucket.config(url=proxied.url), lenient=True)
    assert "give these credentials s3:ListBucket" in caplog.text
    assert store.put_frame(KEY, b"x") is PutResult.STORED
    assert open_store(bucket.config(url="http://127.0.0.1:1", attempts=1), lenient=True).address == bucket.address[:-1]


def test_who_may_only_put_learns_what_is_there_from_the_refused_put(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture's rights on AWS (deploy/aws): neither s3:GetObject nor s3:ListBucket."""
    bucket.put("cam/b.jpg", b"there before")
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), bucket.server.writer, strict=True):
        monkeypatch.setenv(name, value)
    store = open_store(bucket.config(), lenient=True)
    with pytest.raises(StoreUnavailable, match="access denied"):
        store.read(KEY, 100)
    assert store.put_frame("cam/b.jpg", b"another") is PutResult.ALREADY_THERE, (
        "also the first of all, before anything is known"
    )
    for key in ("0.jpg", "1.jpg"):
        assert store.put_frame(key, b"x") is PutResult.STORED
        assert store.put_frame(key, b"y") is PutResult.ALREADY_THERE
    assert [bucket.get(path) for path in ("cam/b.jpg", "0.jpg", "1.jpg")] == [b"there before", b"x", b"x"]


def test_keys_too_long_for_the_bucket_are_refused(bucket: Bucket) -> None:
    store = bucket.store(frames="/".join(["p" * 100] * 5))
    assert store.put_frame("/".join(["k" * 100] * 3) + ".jpg", b"x") is PutResult.STORED
    for use in (lambda key: store.put_frame(key, b"x"), lambda key: store.commit_sidecar(key, b"x")):
        with pytest.raises(KeyRefused):
            use("/".join(["k" * 100] * 8) + ".jpg")


def test_keys_that_no_frame_can_have_are_skipped_and_reported_once(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    store = bucket.store()
    for path in ("cam/a\n.jpg", "cam/" + "c" * 247 + ".jpg", "cam/good.jpg"):
        bucket.put(path, b"x")
    for _ in range(2):
        assert [entry.key for entry in store.list()] == ["cam/good.jpg"]
    output = [record.message for record in caplog.records if record.message.startswith("skipped")]
    assert len(output) == len(set(output)) > 0
    assert not any("\n" in message for message in output)


# Sidecars elsewhere, several threads


def test_sidecars_under_another_prefix(bucket: Bucket) -> None:
    store = bucket.store("frames", "sidecars")
    for key in ("b/1.jpg", "a/2.jpg", "a.jpg", "a/1.jpg", "a-1/1.jpg"):
        store.put_frame(key, b"frame")
    for key in ("b/1.jpg", "a/1.jpg", "a-1/1.jpg", "z/gone.jpg"):
        assert store.commit_sidecar(key, DATA) is CommitResult.COMMITTED
    bucket.put("frames/a/2.jpg.json", b"not where sidecars are")
    bucket.put("sidecars/frame.jpg", b"not where frames are")
    expected = ["a-1/1.jpg", "a-1/1.jpg.json", "a.jpg", "a/1.jpg", "a/1.jpg.json", "a/2.jpg", "b/1.jpg", "b/1.jpg.json"]
    assert [entry.key for entry in store.list()] == [*expected, "z/gone.jpg.json"]
    assert [entry.key for entry in store.list(prefix="a/", after="a/1.jpg")] == expected[4:6]
    assert [item if isinstance(item, str) else item.key for item in store.top()] == ["a-1/", "a.jpg", "a/", "b/", "z/"]
    assert store.read_sidecar("a/2.jpg") is None
    assert bucket.get("sidecars/b/1.jpg.json") == DATA
    assert all(finding.ok for finding in store.probe())


def test_frames_in_a_bucket_and_sidecars_in_a_directory(bucket: Bucket, tmp_path: Path) -> None:
    config = bucket.config()
    for frames, sidecars in ((config.frames, str(tmp_path)), (str(tmp_path / "frames"), config.frames)):
        store = open_store(config.model_copy(update={"frames": frames, "sidecars": sidecars}))
        store.put_frame(KEY, IMAGE)
        assert work(store, looking=STEADY).summary.captioned == 1
        assert [entry.key for entry in store.list()] == [KEY, f"{KEY}.json"]
        store.delete(KEY)
    assert (tmp_path / f"{KEY}.json").is_file()
    assert bucket.paths() == [f"{KEY}.json"]


def test_many_threads_use_one_store(bucket: Bucket) -> None:
    store = bucket.store()

    def use(number: int) -> bool:
        key = f"cam/{number}.jpg"
        return (
            store.put_frame(key, b"%d" % number) is PutResult.STORED
            and store.read(key, 10) == b"%d" % number
            and store.commit_sidecar(key, b"%d" % number) is CommitResult.COMMITTED
            and store.read_sidecar(key) == b"%d" % number
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(use, range(100)))
    assert len(list(store.list())) == 200
    with pytest.raises(FrameGone):
        store.read("cam/100.jpg", 10)


def test_addresses_in_their_parts() -> None:
    assert parse_address("s3://bucket") == parse_address("s3://bucket/") == S3Address("bucket", "")
    assert parse_address("S3://bucket/a b/c/") == S3Address("bucket", "a b/c/")
    assert str(parse_address("s3://bucket/a b/c/")) == "s3://bucket/a b/c"
    for wrong in (
        "s3:/bucket",
        "/bucket",
        "s3://b",
        "s3://-bucket",
        "s3://bucket/a//b",
        "s3://bucket/./a",
        "s3://bucket/a\nb",
    ):
        with pytest.raises(ConfigError):
            parse_address(wrong)


def test_a_directory_needs_no_boto3(tmp_path: Path) -> None:
    script = "import sys; from framecap.stores import open_store; from framecap.config import StoreConfig; "
    script += "open_store(StoreConfig(frames=sys.argv[1])); print([m for m in sys.modules if m.startswith('boto')])"
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout == "[]\n"
