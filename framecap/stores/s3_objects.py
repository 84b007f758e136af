"""One object at a time of a bucket: paths below an address in, requests to S3 out; their trouble goes through as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from framecap.errors import OversizedFrame
from framecap.frames import SIDECAR_SUFFIX
from framecap.stores.base import Entry
from framecap.stores.s3_client import S3Address
from framecap.stores.s3_errors import CLIENT_ERRORS, is_missing, wants_checksum

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

    from framecap.config import S3Config

DELETED_AT_ONCE = 1000  # objects in a request: S3's limit

_BODY_TRIES = 3  # of an answer that breaks off in its middle, each a call with all its tries
_NOT_THERE = ".framecap-no-such-object.jpg"
_TYPES = {".json": "application/json", ".png": "image/png", ".webp": "image/webp"}


class Objects:
    """The objects below one prefix of a bucket. Safe to use from several threads."""

    def __init__(self, client: S3Client, address: S3Address, config: S3Config) -> None:
        self.address = address
        self._client = client
        self._config = config
        self._deletes_one_by_one = False
        self._checksum: dict[str, Any] = {}  # what a bucket that wants a checksum gets with each object

    def where(self, path: str) -> str:
        """An object as users write it."""
        return f"s3://{self.address.bucket}/{self.address.prefix}{path}"

    def stat(self, path: str) -> Entry | None:
        """An object's entry, or None."""
        try:
            head = self._client.head_object(Bucket=self.address.bucket, Key=self.address.prefix + path)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        return Entry(path, head["ContentLength"], head["LastModified"].timestamp(), head["ETag"].strip('"'))

    def get(self, path: str, limit: int) -> tuple[bytes, str] | None:
        """An object's bytes and etag, or None. An answer that breaks off in its middle is asked for again."""
        for tries_left in reversed(range(_BODY_TRIES)):
            try:
                answer = self._client.get_object(Bucket=self.address.bucket, Key=self.address.prefix + path)
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            with answer["Body"] as body:
                size = answer.get("ContentLength", math.inf)  # what does not say how large it is, is not read
                if size > limit:
                    raise OversizedFrame(f"{path[:200]!a}: {size} bytes, the limit is {limit}")
                try:
                    return body.read(), answer["ETag"].strip('"')
                except CLIENT_ERRORS:
                    if not tries_left:
                        raise
        return None

    def may_read_others(self) -> bool:
        """Whether the server says of an object that is not there that it is not there: who may read nothing is refused."""
        try:
            self._client.head_object(Bucket=self.address.bucket, Key=self.address.prefix + _NOT_THERE)
        except ClientError as error:
            return is_missing(error)
        except CLIENT_ERRORS:
            return False
        return True

    def holds(self, path: str, data: bytes) -> bool:
        """Whether an object is there with just these bytes."""
        try:
            found = self.get(path, len(data))
        except OversizedFrame:
            return False
        return found is not None and found[0] == data

    def put(self, path: str, data: bytes) -> None:
        self._put(path, data, {})

    def put_new(self, path: str, data: bytes) -> None:
        """The server is asked to refuse (412) when something is there."""
        self._put(path, data, {"IfNoneMatch": "*"})

    def put_over(self, path: str, data: bytes, etag: str) -> None:
        """The server is asked to refuse (412, or 404) when something else is there, or nothing."""
        self._put(path, data, {"IfMatch": f'"{etag}"'})

    def delete(self, path: str) -> None:
        self._client.delete_object(Bucket=self.address.bucket, Key=self.address.prefix + path)

    def delete_all(self, paths: Sequence[str]) -> None:
        """Up to a thousand objects in one request. The first refusal of one of them is raised as an answer of its own."""
        keys: list[ObjectIdentifierTypeDef] = [{"Key": self.address.prefix + path} for path in paths]
        if self._deletes_one_by_one:
            self._delete_one_by_one(paths)
            return
        try:
            answer = self._client.delete_objects(Bucket=self.address.bucket, Delete={"Objects": keys, "Quiet": True})
        except ClientError as error:
            if not wants_checksum(error):
                raise
            self._deletes_one_by_one = True  # the server wants Content-MD5, which botocore does not send any more
            self._delete_one_by_one(paths)
            return
        for refused in answer.get("Errors", []):
            code = refused.get("Code", "")
            if code not in ("NoSuchKey", "NoSuchVersion"):
                one: Any = {"Error": refused, "ResponseMetadata": answer["ResponseMetadata"]}
                raise ClientError(one, "DeleteObjects")

    def _delete_one_by_one(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.delete(path)

    def _put(self, path: str, data: bytes, options: dict[str, Any]) -> None:
        if self._config.encryption:
            options["ServerSideEncryption"] = self._config.encryption
        if self._config.kms_key and self._config.encryption == "aws:kms":
            options["SSEKMSKeyId"] = self._config.kms_key
        if self._config.storage_class and not path.endswith(SIDECAR_SUFFIX):
            options["StorageClass"] = self._config.storage_class
        options |= {
            "Bucket": self.address.bucket,
            "Key": self.address.prefix + path,
            "Body": data,
            "ContentType": _TYPES.get(path[path.rfind(".") :].lower(), "image/jpeg"),
        }
        try:
            self._client.put_object(**options, **self._checksum)
        except ClientError as error:
            if self._checksum or not wants_checksum(error):
                raise
            self._client.put_object(**options, ChecksumAlgorithm="CRC32")  # Object Lock: it wants one
            self._checksum = {"ChecksumAlgorithm": "CRC32"}
