"""A bucket through the S3 API in, a place for frames and sidecars out: an object comes to be by one conditional PUT.

`If-None-Match: *` lets exactly one of all writers create an object; the others get 412. Whether a server honours it is found
out by the first write, and said if not.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from framecap.errors import FrameUnreadable, OversizedFrame, StoreUnavailable
from framecap.stores.base import Entry, ProbeFinding
from framecap.stores.s3_client import S3Address, make_client, parse_address
from framecap.stores.s3_errors import (
    CLIENT_ERRORS,
    CONFLICT,
    DENIED,
    EXISTS,
    code_of,
    explain,
    guarded,
    is_about_one_object,
    is_missing,
    refuses_conditions,
    status_of,
    was_retried,
)
from framecap.stores.s3_listing import Keys
from framecap.stores.s3_objects import DELETED_AT_ONCE, Objects
from framecap.stores.s3_probe import REFUSES, REFUSES_REPLACING, WEAKER, probe

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from framecap.config import S3Config

logger = logging.getLogger(__name__)


class Conditions(Enum):
    """Whether the server does what `If-None-Match: *` (or `If-Match`) asks for; where not: look, then write."""

    UNKNOWN = "unknown"
    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"


_WITHOUT = (Conditions.IGNORED, Conditions.REFUSED)


class Server:
    """What is known of the server, shared by all places on it."""

    def __init__(self, endpoint: str) -> None:
        host = urlsplit(endpoint).hostname or ""
        aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        self.conditions = Conditions.HONOURED if aws else Conditions.UNKNOWN
        self.replacing = self.conditions  # the same of `If-Match`

    def ignores_conditions(self) -> None:
        if self.conditions not in _WITHOUT:
            self.conditions = Conditions.IGNORED
            logger.warning("%s", WEAKER)

    def refuses_conditions(self) -> None:
        if self.conditions not in _WITHOUT:
            self.conditions = self.replacing = Conditions.REFUSED
            logger.warning("%s", REFUSES)

    def refuses_replacing(self) -> None:
        if self.replacing is not Conditions.REFUSED:
            self.replacing = Conditions.REFUSED
            logger.warning("%s", REFUSES_REPLACING)


class S3Backend:
    """The objects below one prefix of a bucket. Safe to use from several threads."""

    directory = None
    hints = False
    whole = True

    def __init__(self, client: S3Client, address: S3Address, config: S3Config, server: Server) -> None:
        self._objects = Objects(client, address, config)
        self._keys = Keys(client, address)
        self._tries = config.attempts
        self._server = server

    @property
    def address(self) -> str:
        return str(self._objects.address)

    def open(self, lenient: bool) -> None:
        """Try whether the bucket can be used at all. Raises ConfigError, MissingError or StoreUnavailable.

        `lenient`: that the server is away, or that these credentials may not list, is said in the log only.
        """
        try:
            self._keys.look()
        except CLIENT_ERRORS as error:
            outage = explain(error).at_start(self.address)
            denied = isinstance(error, ClientError) and code_of(error) == "AccessDenied"
            if not lenient or not (denied or isinstance(outage, StoreUnavailable)):
                raise outage from None
            logger.warning("%s", outage)

    def entries(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        return self._keys.entries(prefix, after)

    def top(self) -> Iterator[Entry | str]:
        return self._keys.top()

    def stat(self, path: str) -> Entry | None:
        with guarded("stat", self._objects.where(path)), self._distinguished(path):
            return self._objects.stat(path)

    def read(self, path: str, limit: int) -> bytes | None:
        with guarded("read", self._objects.where(path)), self._distinguished(path):
            found = self._objects.get(path, limit)
            return None if found is None else found[0]

    @contextmanager
    def _distinguished(self, path: str) -> Iterator[None]:
        """An object that the server refuses to show (another account's, or encrypted with a customer's key) while it shows
        others is no trouble of the store: FrameUnreadable."""
        try:
            yield
        except ClientError as error:
            if is_about_one_object(error) and self._objects.may_read_others():
                meaning = explain(error)
                where = self._objects.where(path)[:300]
                raise FrameUnreadable(f"{where!a}: the store refuses this one object: {meaning.reason}") from None
            raise

    def create(self, path: str, data: bytes) -> bool:
        with guarded("write", self._objects.where(path)):
            try:
                if self._server.conditions is Conditions.HONOURED:
                    return self._create(path, data)
                return self._create_unsure(path, data)
            except CLIENT_ERRORS as error:
                if self._is_done_all_the_same(error, path, data):
                    return True
                raise

    def replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        with guarded("write", self._objects.where(path)):
            try:
                return self._replace(path, data, if_match)
            except CLIENT_ERRORS as error:
                if self._is_done_all_the_same(error, path, data):
                    return True
                raise

    def delete(self, path: str) -> None:
        with guarded("delete", self._objects.where(path)):
            self._objects.delete(path)

    def delete_all(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), DELETED_AT_ONCE):
            with guarded("delete", self._objects.where(paths[start])):
                self._objects.delete_all(paths[start : start + DELETED_AT_ONCE])

    def probe(self) -> tuple[ProbeFinding, ...]:
        return probe(self._objects, self._keys)

    def _replace(self, path: str, data: bytes, if_match: bytes) -> bool:
        retried = False
        for pause in self._pauses():
            try:
                found = self._objects.get(path, max(len(if_match), len(data)))
            except OversizedFrame:
                return False
            if found is None or found[0] != if_match:
                return retried and found is not None and found[0] == data
            try:
                self._put_over(path, data, found[1])
            except ClientError as error:
                retried |= was_retried(error)
                if status_of(error) == CONFLICT:
                    time.sleep(pause)
                elif status_of(error) != EXISTS and not is_missing(error):
                    raise
            else:
                return True
        raise self._too_busy(path)

    def _put_over(self, path: str, data: bytes, etag: str) -> None:
        """Replace what has just been looked at; without a condition where the server takes none."""
        if self._server.replacing is not Conditions.REFUSED:
            try:
                self._objects.put_over(path, data, etag)
            except ClientError as error:
                if not refuses_conditions(error):
                    raise
            else:
                return
        self._objects.put(path, data)
        self._server.refuses_replacing()

    def _is_done_all_the_same(self, error: Exception, path: str, data: bytes) -> bool:
        """Whether a write that ended in trouble was done, and only its answers were lost: what is there tells."""
        if isinstance(error, ClientError) and status_of(error) < 500:
            return False  # the server has refused it
        try:
            return self._objects.holds(path, data)
        except CLIENT_ERRORS:
            return False

    def _create(self, path: str, data: bytes, retried: bool = False) -> bool:
        """False when something is there that is not empty, and not ours: the answer to an earlier try may have been lost."""
        for pause in self._pauses():
            try:
                self._objects.put_new(path, data)
            except ClientError as error:
                retried |= was_retried(error)
                if status_of(error) == CONFLICT:
                    time.sleep(pause)
                    continue
                if status_of(error) != EXISTS:
                    raise
            else:
                return True
            there, looked = self._look(path)
            if not looked:  # but the answer to the put was that something is there
                return False
            if there is None:
                continue  # it was deleted meanwhile
            if there.size:
                return retried and there.size == len(data) and self._objects.holds(path, data)
            try:
                self._put_over(path, data, there.etag)
            except ClientError as error:
                retried |= was_retried(error)
                if status_of(error) not in (EXISTS, CONFLICT) and not is_missing(error):
                    raise
            else:
                return True
        raise self._too_busy(path)

    def _create_unsure(self, path: str, data: bytes) -> bool:
        """Look before writing. As long as it is not known, write twice: will the server say that something is there?"""
        there, looked = self._look(path)
        if there is not None and there.size:
            return False
        if self._server.conditions in _WITHOUT:
            self._objects.put(path, data)
            return True
        try:
            self._objects.put_new(path, data)
        except ClientError as error:
            if status_of(error) in (EXISTS, CONFLICT):
                self._server.conditions = Conditions.HONOURED
                return self._create(path, data, was_retried(error))
            if not refuses_conditions(error) or not looked:
                raise
            self._objects.put(path, data)
            self._server.refuses_conditions()
            return True
        self._learn(path, data)
        return True

    def _look(self, path: str) -> tuple[Entry | None, bool]:
        """What is there, and whether we could see it: who may put frames and not read them relies on the condition alone."""
        try:
            return self._objects.stat(path), True
        except ClientError as error:
            if status_of(error) == DENIED and self._server.conditions not in _WITHOUT:
                return None, False
            raise

    def _learn(self, path: str, data: bytes) -> None:
        """Write once more what has just been written."""
        try:
            self._objects.put_new(path, data)
        except ClientError as error:
            if status_of(error) in (EXISTS, CONFLICT):
                self._server.conditions = Conditions.HONOURED
        except CLIENT_ERRORS:
            pass  # it is written; the next write learns
        else:
            self._server.ignores_conditions()

    def _pauses(self) -> Iterator[float]:
        """The waits between tries that meet other writers, growing and at random, as many as store.s3.attempts says."""
        return (random.uniform(0.05, 0.1) * 2**number for number in range(self._tries))  # noqa: S311 - no secret

    def _too_busy(self, path: str) -> StoreUnavailable:
        where = self._objects.where(path)[:300]
        return StoreUnavailable(f"cannot write at {where!r}: others write there all the time: it is tried again")


class S3:
    """The buckets of a store, by the setting that names each; one client for all of them."""

    def __init__(self, config: S3Config, addresses: Mapping[str, str]) -> None:
        parsed = {setting: parse_address(address, setting) for setting, address in addresses.items()}
        client = make_client(config)
        server = Server(client.meta.endpoint_url)
        self._backends = {setting: S3Backend(client, address, config, server) for setting, address in parsed.items()}

    def open(self, setting: str, lenient: bool) -> S3Backend:
        """The place of a setting, looked at."""
        backend = self._backends[setting]
        backend.open(lenient)
        return backend
