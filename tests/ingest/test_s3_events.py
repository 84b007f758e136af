"""S3's notifications in every form that reaches a queue, and bodies that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.errors import ConfigError, MessageUnreadable
from framecap.frames import check_key
from framecap.ingest.s3_events import MAX_BODY_BYTES, bucket_address, created_body, frame_keys
from framecap.stores.s3_client import S3Address

ADDRESS = S3Address("a-bucket", "cams/")
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)

# As AWS documents them (Amazon S3 user guide, "Event message structure" and "Amazon EventBridge mapping"), shortened.


def plain(*keys: str, bucket: str = "a-bucket", event: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-west-2",
                "eventTime": "1970-01-01T00:00:00.000Z",
                "eventName": event,
                "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "testConfigRule",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {"key": quote_plus(key, safe="/"), "size": 1024, "eTag": "d41d8c", "sequencer": "0055AED6"},
                },
            }
            for key in keys
        ]
    }


def through_sns(*keys: str) -> dict[str, Any]:
    message = json.dumps(plain(*keys))
    return {"Type": "Notification", "MessageId": "22b80b92", "Subject": "Amazon S3 Notification", "Message": message}


def through_eventbridge(key: str, detail_type: str = "Object Created") -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": "111122223333",
        "detail": {
            "version": "0",
            "bucket": {"name": "a-bucket"},
            "object": {"key": key, "size": 5, "etag": "b1946ac9", "sequencer": "00617F08299329D189"},
            "reason": "PutObject",
        },
    }


def keys_of(body: Any) -> tuple[str, ...]:
    return frame_keys(json.dumps(body), ADDRESS)


def usable(key: str) -> bool:
    try:
        return bool(check_key(key))
    except Exception:
        return False


KEYS = (
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(lambda text: f"{text}.jpg").filter(usable)
)
FORMS: list[Callable[[str], Any]] = [
    plain,
    through_sns,
    through_eventbridge,
    lambda key: {"Type": "Notification", "Message": json.dumps(through_eventbridge(key))},
    lambda key: plain(key, event="s3:ObjectCreated:CompleteMultipartUpload"),
    lambda key: json.loads(created_body(ADDRESS, key.removeprefix(ADDRESS.prefix), 7, NOW)),
]


@given(KEYS, st.sampled_from(FORMS))
def test_a_key_comes_out_as_it_went_in_whatever_the_envelope(key: str, form: Callable[[str], Any]) -> None:
    assert keys_of(form(f"cams/{key}")) == (key,)


@pytest.mark.faults(22)
def test_plain_events_are_url_encoded_and_those_of_eventbridge_are_not() -> None:
    written = plain("cams/x.jpg")
    written["Records"][0]["s3"]["object"]["key"] = "cams/caf%C3%A9+1%2B1.jpg"
    assert keys_of(written) == ("café 1+1.jpg",)
    assert keys_of(through_eventbridge("cams/caf%C3%A9+1%2B1.jpg")) == ("caf%C3%A9+1%2B1.jpg",)


def test_several_records_give_each_frame_once() -> None:
    assert keys_of(plain("cams/b.jpg", "cams/a.png", "cams/b.jpg")) == ("b.jpg", "a.png")


@pytest.mark.parametrize(
    "body",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z", "Bucket": "a-bucket"},
        {"Type": "Notification", "Message": json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})},
        {"Records": []},
        plain("cams/a.jpg", event="ObjectRemoved:Delete"),
        plain("cams/a.jpg", event="ObjectTagging:Put"),
        through_eventbridge("cams/a.jpg", "Object Deleted"),
        plain("cams/a.jpg", bucket="another"),
        plain("other/a.jpg", "cams", "camsa.jpg"),
        plain("cams/a.jpg.json", "cams/notes.txt", "cams/", "cams/.hidden.jpg", "cams/a.jpg.part"),
        plain("cams/../a.jpg", "cams//a.jpg", "cams/a\nb.jpg", f"cams/{'x' * 300}.jpg"),
    ],
)
def test_what_tells_of_no_new_frame_is_read_and_tells_of_none(body: Any) -> None:
    assert keys_of(body) == ()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "no S3 event"),
        ("hello", "no S3 event"),
        ("[]", "no S3 event"),
        ("{}", "neither an S3 event"),
        ('{"Records": [{"eventName": "ObjectCreated:Put"}]}', "Records.0.eventSource"),
        ('{"Records": {"0": 1}}', "Records"),
        (json.dumps(plain("a.jpg")).replace("aws:s3", "aws:ses"), "an event of 'aws:ses', not of S3"),
        (json.dumps(through_eventbridge("a.jpg")).replace("aws.s3", "aws.ec2"), "not of S3"),
        (json.dumps(plain("x")).replace('"x"', '"%ff%fe.jpg"'), "not UTF-8"),
        ('{"Type": "SubscriptionConfirmation", "Message": "You have chosen to"}', "confirm the queue's subscription"),
        (json.dumps({"Records": [], "x": "é" * (MAX_BODY_BYTES // 2)}, ensure_ascii=False), "the limit is"),
        ("[" * 100_000, "no S3 event"),
        ("\ud800", "no S3 event"),
        ('{"Records":' + '{"a":' * 50_000, "no S3 event"),
        ('{"Records": [' + "1" * 5000 + "]}", "out of range"),
        ('{"Records": "\\ud800"}', "no S3 event"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(body: str, says: str) -> None:
    with pytest.raises(MessageUnreadable, match=says.replace("(", r"\(")) as caught:
        frame_keys(body, ADDRESS)
    assert len(str(caught.value)) < 300


def test_envelopes_in_envelopes_end() -> None:
    body = json.dumps(plain("cams/a.jpg"))
    for _ in range(5):
        body = json.dumps({"Type": "Notification", "Message": body})
    with pytest.raises(MessageUnreadable):
        frame_keys(body, ADDRESS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "s3", "bucket", "object", "key", "name", "eventName", "eventSource", "Type", "Message"]
            )
            | st.sampled_from(["detail", "detail-type", "source", "Event"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(json.dumps) | st.text(max_size=200) | JSON.map(lambda inner: json.dumps({"Records": [inner]})))
def test_no_body_does_more_than_be_refused(body: str) -> None:
    try:
        keys = frame_keys(body, ADDRESS)
    except MessageUnreadable:
        return
    assert all(usable(key) for key in keys)


@pytest.mark.parametrize(
    ("address", "store_address"),
    [
        ("s3://a-bucket", S3Address("a-bucket", "")),
        ("s3://a-bucket/", S3Address("a-bucket", "")),
        ("s3://a-bucket/cams", S3Address("a-bucket", "cams/")),
        ("s3://a-bucket/x/cams/", S3Address("a-bucket", "x/cams/")),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(address: str, store_address: S3Address) -> None:
    assert bucket_address(address) == store_address


def test_a_directory_is_no_address_that_a_queue_tells_of() -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        bucket_address("/mnt/bucket/cams")
