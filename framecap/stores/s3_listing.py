"""A bucket's prefix in, its frames and sidecars in the byte order of their keys out, whatever order the server lists in.

S3 lists keys in the byte order of their UTF-8. Some servers (SeaweedFS) list folder by folder instead: `cam/1.jpg` before
`cam-1/1.jpg`. There, folders are listed one by one and put in order here.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from framecap.errors import StoreUnavailable
from framecap.stores.base import Entry
from framecap.stores.names import Refusals, is_listed, leads_on
from framecap.stores.s3_client import S3Address
from framecap.stores.s3_errors import guarded

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ObjectTypeDef

logger = logging.getLogger(__name__)

_FOLDER_BY_FOLDER = ("SeaweedFS",)  # how servers that list so begin their Server header


class Keys:
    """The keys below one prefix of a bucket. Safe to use from several threads."""

    def __init__(self, client: S3Client, address: S3Address) -> None:
        self._client = client
        self._address = address
        self._refusals = Refusals()
        self._by_folder = False

    @property
    def by_folder(self) -> bool:
        """Whether the server is known not to list in the byte order of keys."""
        return self._by_folder

    def look(self) -> None:
        """List one page, and learn from it in which order this server lists. Exceptions of botocore go through."""
        page = self._page("", {})
        server = page["ResponseMetadata"]["HTTPHeaders"].get("server", "")
        keys = [item["Key"] for item in page.get("Contents", [])]
        if server.startswith(_FOLDER_BY_FOLDER) or keys != sorted(keys):
            self._by_folder = True

    def entries(self, prefix: str, after: str) -> Iterator[Entry]:
        """Frames and sidecars whose key starts with `prefix` and sorts after `after`."""
        with guarded("list", str(self._address)):
            if self._by_folder:
                start = prefix[: prefix.rfind("/") + 1]
                yield from self._below(start, prefix, after)
            else:
                yield from self._flat(prefix, after)

    def top(self) -> Iterator[Entry | str]:
        """What lies directly below the address, in byte order: frames and sidecars as entries, folders as keys."""
        with guarded("list", str(self._address)):
            yield from self._level("", "")

    def _flat(self, prefix: str, after: str) -> Iterator[Entry]:
        last = after or None  # "" is a key: of the prefix's own folder marker
        start = {"StartAfter": self._address.prefix + after} if after else {}
        for page in self._pages(prefix, start):
            for item in page.get("Contents", []):
                key = item["Key"][len(self._address.prefix) :]
                if last is not None and key <= last:
                    self._by_folder = True
                    raise StoreUnavailable(
                        f"{self._address}: this server does not list in the byte order of keys ({key[:200]!a} after "
                        f"{last[:200]!a}): folders are listed one by one from now on"
                    )
                last = key
                entry = self._entry(key, item)
                if entry is not None:
                    yield entry

    def _below(self, folder: str, prefix: str, after: str) -> Iterator[Entry]:
        for item in self._level(folder, max(folder, prefix, key=len)):
            if isinstance(item, Entry):
                if item.key > after and item.key.startswith(prefix):
                    yield item
            elif leads_on(item, prefix, after):
                yield from self._below(item, prefix, after)

    def _level(self, folder: str, prefix: str) -> Iterator[Entry | str]:
        """What lies directly in a folder and starts with the prefix, in byte order, if the server names it in byte order
        with or without a final `/`.

        A folder named without its `/` comes too early: it waits until nothing that sorts before it can come any more.
        """
        waiting: list[tuple[str, Entry | str]] = []
        for key, item in self._named(folder, prefix):
            while waiting and waiting[0][0] < key:
                yield heapq.heappop(waiting)[1]
            heapq.heappush(waiting, (key, item))
        while waiting:
            yield heapq.heappop(waiting)[1]

    def _named(self, folder: str, prefix: str) -> Iterator[tuple[str, Entry | str]]:
        """The keys of a folder's frames, sidecars and folders, page by page as the server names them."""
        skipped = len(self._address.prefix)
        for page in self._pages(prefix, {"Delimiter": "/"}):
            folders = [found["Prefix"][skipped:] for found in page.get("CommonPrefixes", [])]
            objects = {item["Key"][skipped:]: item for item in page.get("Contents", [])}
            for key in sorted([*folders, *objects], key=lambda key: key.removesuffix("/")):
                if key in objects:
                    entry = self._entry(key, objects[key])
                    if entry is not None:
                        yield key, entry
                else:
                    name = key[len(folder) :]
                    if not name.startswith(".") and self._refusals.accepts(folder, name):
                        yield key, key

    def _entry(self, key: str, item: ObjectTypeDef) -> Entry | None:
        """The entry of a key that is a frame's or sidecar's; what no key of ours can be is skipped, and said once."""
        folder, slash, name = key.rpartition("/")
        if not is_listed(name) or name.startswith(".") or folder.startswith(".") or "/." in folder:
            return None
        if not self._refusals.accepts(folder + slash, name):
            return None
        return Entry(key, item["Size"], item["LastModified"].timestamp(), item["ETag"].strip('"'))

    def _pages(self, prefix: str, options: dict[str, Any]) -> Iterator[ListObjectsV2OutputTypeDef]:
        while True:
            page = self._page(prefix, options)
            yield page
            if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
                return
            options = {**options, "ContinuationToken": page["NextContinuationToken"]}
            options.pop("StartAfter", None)

    def _page(self, prefix: str, options: dict[str, Any]) -> ListObjectsV2OutputTypeDef:
        return self._client.list_objects_v2(Bucket=self._address.bucket, Prefix=self._address.prefix + prefix, **options)
