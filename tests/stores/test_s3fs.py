"""The shape that framecap is made for: frames in a bucket, the bucket mounted with s3fs, sidecars beside them."""

from __future__ import annotations

import subprocess

import pytest

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import StoreUnavailable
from framecap.ingest import open_ingest
from framecap.stores import open_store
from framecap.stores.base import CommitResult, PutResult
from tests.s3 import MountedBucket

WHOLE = b'{"status": "captioned", "frame": {}}'


@pytest.mark.faults(8)
def test_frames_through_the_mount_and_through_the_api_get_their_sidecars(mounted_bucket: MountedBucket) -> None:
    bucket, client = mounted_bucket.bucket, mounted_bucket.server.client()
    store = open_store(StoreConfig(frames=str(mounted_bucket.path)))
    assert not store.hints, "events do not tell of what others put into a bucket"
    assert [finding.ok for finding in store.probe()] == [True, True]
    near = "near/2026/11/22/10/near-20261122T100000.000000Z-00000000.jpg"
    assert store.put_frame(near, b"a frame through the mount") is PutResult.STORED
    assert store.put_frame(near, b"another") is PutResult.ALREADY_THERE
    assert client.get_object(Bucket=bucket, Key=near)["Body"].read() == b"a frame through the mount"

    ingest = open_ingest(IngestConfig(scan_seconds=0.3), store)
    ingest.start()
    try:
        leases = {}
        for key in (near, "far/a frame.jpg"):
            if key != near:
                client.put_object(Bucket=bucket, Key=key, Body=b"a frame through the API")
            lease = ingest.lease(30)
            assert lease is not None
            leases[lease.entry.key] = lease
        assert leases.keys() == {near, "far/a frame.jpg"}
        assert store.read("far/a frame.jpg", 100) == b"a frame through the API"
        for key, lease in leases.items():
            assert store.commit_sidecar(key, WHOLE) is CommitResult.COMMITTED
            assert client.get_object(Bucket=bucket, Key=f"{key}.json")["Body"].read() == WHOLE
            assert store.commit_sidecar(key, b"another") is CommitResult.ALREADY_THERE
            lease.done()
        while not ingest.exhausted():
            assert ingest.lease(0.05) is None, "what has its sidecar does not come back"
    finally:
        ingest.close()

    assert store.replace_sidecar(near, b"{}", if_match=WHOLE) is CommitResult.COMMITTED
    assert client.get_object(Bucket=bucket, Key=f"{near}.json")["Body"].read() == b"{}"
    listed = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"] if not item["Key"].endswith("/")]
    assert listed == [entry.key for entry in store.list()]
    assert len(listed) == 4


@pytest.mark.faults(18)
def test_a_mount_that_is_gone_is_an_outage_and_nothing_goes_below_it(mounted_bucket: MountedBucket) -> None:
    store = open_store(StoreConfig(frames=str(mounted_bucket.path)))
    assert store.put_frame("cam/a.jpg", b"x") is PutResult.STORED
    subprocess.run(["fusermount", "-u", "-z", str(mounted_bucket.path)], check=True)
    uses = [
        lambda: store.put_frame("cam/b.jpg", b"x"),
        lambda: store.commit_sidecar("cam/a.jpg", b"{}"),
        lambda: list(store.list()),
    ]
    for use in uses:
        with pytest.raises(StoreUnavailable, match="mount it again"):
            use()
    assert list(mounted_bucket.path.iterdir()) == []
