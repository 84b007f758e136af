"""Listing a bucket: in the byte order of keys whatever the server's is, and at a cost in proportion to what is new."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framecap.bench.fake_listing import FakeFrameKeys, FakeListingClient, folder_order
from framecap.config import IngestConfig, S3Config
from framecap.errors import StoreUnavailable
from framecap.frames import FrameName, make_key
from framecap.ingest import open_ingest
from framecap.stores.base import Store
from framecap.stores.combined import CombinedStore
from framecap.stores.listing import Listing, pairs
from framecap.stores.s3 import S3Backend, Server
from framecap.stores.s3_client import S3Address
from framecap.stores.s3_listing import Keys
from tests.proxy import Proxy
from tests.s3 import Bucket

WHOLE = b'{"status": "captioned", "frame": {}}'
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

NAMES = st.sampled_from(["a", "a.jpg", "a-", "a!", "a0", "a.jpg-", "b", "2026", "2026-1", ".h", "a.jpg.json"])
KEYS = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(NAMES, max_size=3),
    st.sampled_from(["a.jpg", "a.jpg.json", "b.png", "a", "-.jpg", "0.webp", ".a.jpg"]),
)


def keys_of(client: Any, prefix: str = "root/") -> Keys:
    keys = Keys(client, S3Address("bucket", prefix))
    keys.look()
    return keys


def is_wanted(key: str) -> bool:
    hidden = any(part.startswith(".") for part in key.split("/"))
    return not hidden and key.removesuffix(".json").endswith((".jpg", ".png", ".webp"))


@given(
    st.sets(KEYS, max_size=30),
    st.sampled_from(["", "a", "a/", "2026/a", "a.jpg"]),
    st.sampled_from(["", "a", "a.jpg", "a/b"]),
)
@pytest.mark.parametrize("by_folder", [False, True])
@pytest.mark.parametrize("page", [1, 3, 1000])
@example({"a/a.jpg", "a-/a.jpg", "a.jpg"}, "", "")
def test_a_listing_is_the_sorted_keys_under_the_prefix_after_the_mark(
    by_folder: bool, page: int, keys: set[str], prefix: str, after: str
) -> None:
    stored = sorted((f"root/{key}" for key in keys), key=folder_order if by_folder else None)
    client = FakeListingClient(stored, page, by_folder, "SeaweedFS 4" if by_folder else "AmazonS3")
    bucket = keys_of(client)
    assert bucket.by_folder is by_folder
    wanted = sorted(filter(is_wanted, keys))
    assert [entry.key for entry in bucket.entries(prefix, after)] == [
        key for key in wanted if key.startswith(prefix) and key > after
    ]
    top = [item if isinstance(item, str) else item.key for item in bucket.top()]
    assert top == sorted(top)
    assert set(top) >= {key[: key.find("/") + 1] or key for key in wanted}


def test_a_server_of_another_order_is_found_out_before_it_can_harm() -> None:
    client = FakeListingClient(["root/a/1.jpg", "root/a-1/1.jpg"], by_folder=True)
    assert keys_of(client).by_folder, "the first page shows it"
    client.keys = [f"root/a/{number:04d}.jpg" for number in range(1000)]
    keys = keys_of(client)
    client.keys = [*client.keys, "root/a-1/1.jpg"]
    with pytest.raises(StoreUnavailable, match="folders are listed one by one from now on"):
        list(keys.entries("", ""))
    assert next(iter(keys.entries("", ""))).key == "a-1/1.jpg"


class Grown(Sequence[str]):
    """Keys with some more."""

    def __init__(self, keys: Sequence[str], more: list[str]) -> None:
        self._all = list(keys)
        for key in more:
            insort(self._all, key)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, at: Any) -> Any:
        return self._all[at]


def own(camera: str, at: datetime) -> str:
    return make_key(FrameName(camera, at, 0))


def stubbed(client: FakeListingClient) -> Store:
    address: Any = S3Backend(client, S3Address("bucket", "root/"), S3Config(), Server("https://s3.amazonaws.com"))  # type: ignore[arg-type]
    return CombinedStore(address)


def test_an_incremental_scan_costs_in_proportion_to_what_is_new(full: bool) -> None:
    """1,000,000 keys of ten cameras are listed in 1000 requests; then 1150 keys in 11 requests half of the time, 4500 in 13
    on the average, 72,000 in 81 once in 64 times."""
    cameras, seconds = (10, 50_000) if full else (5, 4_000)
    client = FakeListingClient(FakeFrameKeys(cameras, seconds, NOON))
    listing = Listing(stubbed(client), timedelta(seconds=IngestConfig().lookback_seconds))
    frames = sum(1 for _ in pairs(listing.full()))
    assert frames == cameras * seconds
    assert client.listed == frames * 2
    costs = []
    for _ in range(64):
        client.listed = client.requests = 0
        for _ in listing.incremental():
            pass
        costs.append((client.listed, client.requests))
    assert sorted(costs)[32][0] <= cameras * (2 * 2 * 3600 / 64 + 2), "half of all scans look back a 32nd of an hour at most"
    assert max(costs)[0] <= cameras * (2 * 3600 + 3)
    mean = sum(keys for keys, _ in costs) / 64
    assert mean < cameras * 2 * 3600 / 12
    new = [own(f"cam-{camera:03d}", NOON + timedelta(seconds=seconds + 1)) for camera in range(cameras)]
    client.keys = Grown(client.keys, [f"root/{key}" for key in new])
    assert set(new) <= {entry.key for entry in listing.incremental()}


def test_what_comes_behind_is_found_in_the_end() -> None:
    keys = FakeFrameKeys(2, 4000, NOON)
    client = FakeListingClient(keys)
    listing = Listing(stubbed(client), HOUR)
    for _ in listing.full():
        pass
    for _ in listing.incremental():
        pass
    late = [own("cam-000", NOON + timedelta(seconds=4000 - behind, milliseconds=1)) for behind in (10, 100, 1000, 3000)]
    client.keys = Grown(keys, [f"root/{key}" for key in late])
    found: dict[str, int] = {}
    for number in range(1, 65):
        for entry in listing.incremental():
            if entry.key in late:
                found.setdefault(entry.key, number)
    assert list(found) == late
    assert found[late[0]] == 1
    assert found[late[1]] <= 2
    assert found[late[2]] <= 32


def test_a_real_bucket_is_listed_from_the_watermark_on(bucket: Bucket, proxied: Proxy, full: bool) -> None:
    """And a frame that appears is leased at once, though thousands of young sidecars are there."""
    count = 10_000 if full else 100
    begin = datetime.now(UTC) - timedelta(minutes=count)
    done = [own(f"cam-{number % 2}", begin + timedelta(minutes=number)) for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        for key in done:
            pool.submit(bucket.put, key, b"x")
            pool.submit(bucket.put, f"{key}.json", WHOLE)
    store = bucket.store(url=proxied.url)
    listing = Listing(store, HOUR)
    assert sum(1 for _ in listing.full()) == count * 2
    new = [own("cam-0", datetime.now(UTC)), own("cam-new", datetime.now(UTC)), "foreign/a b.jpg"]
    for key in new:
        bucket.put(key, b"x")
    proxied.requests.clear()
    found = [entry.key for entry in listing.incremental()]
    assert set(new) <= set(found)
    assert len(found) <= 2 * 2 * 60 + 4, "an hour's frames and sidecars of each camera, and what is new"
    assert len(proxied.requests) < 30

    proxied.requests.clear()
    ingest = open_ingest(IngestConfig(scan_seconds=0.2), store)
    ingest.start()
    try:
        leases = [ingest.lease(60) for _ in new]
    finally:
        ingest.close()
    assert sorted(lease.entry.key for lease in leases if lease) == sorted(new)
    opened = [request.path for request in proxied.requests if "list-type" not in request.query]
    assert opened == [], "no sidecar is opened: none can be torn"
