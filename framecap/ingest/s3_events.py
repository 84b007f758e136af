"""S3's notifications: the body of a message in, the keys of the new frames it tells of out; and the other way. No I/O.

They come plain, in SNS's envelope, or from EventBridge. Plain ones write keys URL-encoded (`+` is a space), EventBridge
writes them as they are.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated
from urllib.parse import quote_plus, unquote_plus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framecap.errors import ConfigError, KeyRefused, MessageUnreadable
from framecap.frames import check_key
from framecap.stores.s3_client import S3Address, is_s3, parse_address
from framecap.telemetry import mask

MAX_BODY_BYTES = 256 << 10  # S3 and SNS write no longer ones
_MAX_ENVELOPES = 2
_S3_SOURCES = ("aws:s3", "minio:s3", "framecap:reconcile")
_CREATED = "ObjectCreated:"


def bucket_address(address: str) -> S3Address:
    """The place of a store's frames, when messages can tell of it. Raises ConfigError for a directory."""
    if not is_s3(address):
        raise ConfigError(
            f"a queue tells of objects in a bucket, and store.frames is {mask(address)!r}: give s3://bucket/prefix "
            "(of a mounted bucket as well: who reads a queue needs no mount)"
        )
    return parse_address(address, "store.frames")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Bucket(_Part):
    name: str


class _Object(_Part):
    key: str


class _S3(_Part):
    bucket: _Bucket
    object: _Object


class _Record(_Part):
    source: Annotated[str, Field(alias="eventSource")]
    name: Annotated[str, Field(alias="eventName")]
    s3: _S3


class _Plain(_Part):
    records: Annotated[list[_Record], Field(alias="Records")]


class _Bridge(_Part):
    source: str
    detail_type: Annotated[str, Field(alias="detail-type")]
    detail: _S3


class _Envelope(_Part):
    type: Annotated[str, Field(alias="Type")]
    message: Annotated[str, Field(alias="Message")]


class _Test(_Part):
    event: Annotated[str, Field(alias="Event")]


class _Shape(_Part):
    """What tells the kinds of bodies apart."""

    records: Annotated[object, Field(alias="Records")] = None
    detail_type: Annotated[object, Field(alias="detail-type")] = None
    event: Annotated[object, Field(alias="Event")] = None
    message: Annotated[object, Field(alias="Message")] = None


def frame_keys(body: str, store_address: S3Address) -> tuple[str, ...]:
    """The keys of the frames that a message says were created in `store_address`, each once, in the order they stand there.

    Empty for test messages, removals, and objects that are elsewhere or no frames. Raises MessageUnreadable for all else.
    """
    if len(body) > MAX_BODY_BYTES or len(body.encode(errors="replace")) > MAX_BODY_BYTES:
        raise MessageUnreadable(f"a body of {len(body)} characters is no S3 event (the limit is {MAX_BODY_BYTES} bytes)")
    try:
        objects = _created(body, envelopes=_MAX_ENVELOPES)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise MessageUnreadable(f"no S3 event: {where}: {first['msg']}") from None
    except UnicodeDecodeError:
        raise MessageUnreadable("no S3 event: a key is not UTF-8") from None
    keys = (_frame_key(store_address, bucket, key) for bucket, key in objects)
    return tuple(dict.fromkeys(key for key in keys if key is not None))


def _frame_key(store_address: S3Address, bucket: str, object_key: str) -> str | None:
    """The key of the frame that an object is; None for what lies elsewhere or is no frame."""
    if bucket != store_address.bucket or not object_key.startswith(store_address.prefix):
        return None
    key = object_key.removeprefix(store_address.prefix)
    try:
        return check_key(key)
    except KeyRefused:
        return None


def _created(body: str, envelopes: int) -> list[tuple[str, str]]:
    """Bucket and key of each object that was created."""
    shape = _Shape.model_validate_json(body)
    if shape.records is not None:
        records = _Plain.model_validate_json(body).records
        for record in records:
            if record.source not in _S3_SOURCES:
                raise MessageUnreadable(f"an event of {record.source[:100]!a}, not of S3")
        made = [record.s3 for record in records if record.name.removeprefix("s3:").startswith(_CREATED)]
        return [(s3.bucket.name, unquote_plus(s3.object.key, errors="strict")) for s3 in made]
    if shape.detail_type is not None:
        event = _Bridge.model_validate_json(body)
        if event.source != "aws.s3":
            raise MessageUnreadable(f"an event of {event.source[:100]!a}, not of S3")
        created = event.detail_type == "Object Created"
        return [(event.detail.bucket.name, event.detail.object.key)] if created else []
    if shape.event is not None and _Test.model_validate_json(body).event == "s3:TestEvent":
        return []
    if shape.message is not None and envelopes:
        envelope = _Envelope.model_validate_json(body)
        if envelope.type == "Notification":
            return _created(envelope.message, envelopes - 1)
        raise MessageUnreadable(f"SNS sent {envelope.type[:100]!a}: confirm the queue's subscription to the topic")
    raise MessageUnreadable("neither an S3 event, nor SNS's or EventBridge's form of one")


def created_body(store_address: S3Address, key: str, size: int, at: datetime) -> str:
    """The body of a message that says, as S3 itself does, that a frame was created."""
    stored = {"key": quote_plus(store_address.prefix + key, safe="/"), "size": size}
    record = {
        "eventVersion": "2.1",
        "eventSource": "framecap:reconcile",
        "eventTime": at.isoformat(),
        "eventName": "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": store_address.bucket}, "object": stored},
    }
    return json.dumps({"Records": [record]})
