"""A client that lists keys of its own making: in the byte order of keys as S3 does, or folder by folder as SeaweedFS."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LAST = "\U0010ffff"
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class ListedClient:
    """`keys` are sorted as `order` says; `listed` counts the keys that were listed, `requests` the requests."""

    keys: Sequence[str]
    page: int = 1000
    by_folder: bool = False
    server: str = "AmazonS3"
    listed: int = 0
    requests: int = 0

    def list_objects_v2(
        self,
        Bucket: str,
        Prefix: str = "",
        StartAfter: str = "",
        Delimiter: str = "",
        ContinuationToken: str = "",
    ) -> dict[str, Any]:
        self.requests += 1
        contents: list[dict[str, Any]] = []
        folders: list[dict[str, str]] = []
        at = max(self._place(Prefix), self._place(StartAfter, after=True), int(ContinuationToken or 0))
        while at < len(self.keys) and self.keys[at].startswith(Prefix) and len(contents) + len(folders) < self.page:
            key = self.keys[at]
            rest, delimiter, _ = key[len(Prefix) :].partition(Delimiter or "\0")
            if delimiter:
                folders.append({"Prefix": f"{Prefix}{rest}/"})
                at = self._place(f"{Prefix}{rest}/{LAST}", after=True)
            else:
                contents.append({"Key": key, "Size": 1, "LastModified": AT, "ETag": '"e"'})
                at += 1
        self.listed += len(contents) + len(folders)
        page: dict[str, Any] = {"Contents": contents, "CommonPrefixes": folders}
        page["ResponseMetadata"] = {"HTTPHeaders": {"server": self.server}}
        if at < len(self.keys) and self.keys[at].startswith(Prefix):
            page |= {"IsTruncated": True, "NextContinuationToken": str(at)}
        return page

    def _place(self, key: str, after: bool = False) -> int:
        """Where a key is in the list, or would be."""
        if not key:
            return 0
        order = folder_order if self.by_folder else str
        return (bisect_right if after else bisect_left)(self.keys, order(key), key=order)


def folder_order(key: str) -> Any:
    """What sorts keys folder by folder, each folder among its siblings by its name."""
    return key.split("/")
