"""Keys in, a client that lists them out: in the byte order of keys as S3 does, or folder by folder as SeaweedFS."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from framecap.frames import FrameName, make_key, sidecar_key

LAST = "\U0010ffff"
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class FakeListingClient:
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
        at = max(self._path(Prefix), self._path(StartAfter, after=True), int(ContinuationToken or 0))
        while at < len(self.keys) and self.keys[at].startswith(Prefix) and len(contents) + len(folders) < self.page:
            key = self.keys[at]
            rest, delimiter, _ = key[len(Prefix) :].partition(Delimiter or "\0")
            if delimiter:
                folders.append({"Prefix": f"{Prefix}{rest}/"})
                at = self._path(f"{Prefix}{rest}/{LAST}", after=True)
            else:
                contents.append({"Key": key, "Size": 1, "LastModified": AT, "ETag": '"e"'})
                at += 1
        self.listed += len(contents) + len(folders)
        page: dict[str, Any] = {"Contents": contents, "CommonPrefixes": folders}
        page["ResponseMetadata"] = {"HTTPHeaders": {"server": self.server}}
        if at < len(self.keys) and self.keys[at].startswith(Prefix):
            page |= {"IsTruncated": True, "NextContinuationToken": str(at)}
        return page

    def _path(self, key: str, after: bool = False) -> int:
        """Where a key is in the list, or would be."""
        if not key:
            return 0
        order = folder_order if self.by_folder else str
        return (bisect_right if after else bisect_left)(self.keys, order(key), key=order)


def folder_order(key: str) -> Any:
    """What sorts keys folder by folder, each folder among its siblings by its name."""
    return key.split("/")


class FakeFrameKeys(Sequence[str]):
    """The sorted keys of own frames, a frame a second per camera, made when they are looked at: the first `done` of each
    camera have sidecars, the next `new` have none."""

    def __init__(self, cameras: int, done: int, begin: datetime, new: int = 0, prefix: str = "root/") -> None:
        self.cameras, self.done, self.new, self.begin, self.prefix = cameras, done, new, begin, prefix

    def __len__(self) -> int:
        return self.cameras * (2 * self.done + self.new)

    def __getitem__(self, at: Any) -> Any:
        if at >= len(self):
            raise IndexError(at)
        camera, rest = divmod(at, 2 * self.done + self.new)
        second, is_sidecar = divmod(rest, 2) if rest < 2 * self.done else (rest - self.done, 0)
        key = self._key(second).replace("CAMERA", f"cam-{camera:03d}")
        return sidecar_key(key) if is_sidecar else key

    @cache  # noqa: B019 - few of them, each as long as the process
    def _key(self, second: int) -> str:
        return f"{self.prefix}{make_key(FrameName('CAMERA', self.begin + timedelta(seconds=second), 0))}"
