"""Messages to queues and topics of a real server (moto's)."""

from __future__ import annotations

import json
import secrets
from typing import Any

import boto3
import pytest

from framecap.config import S3Config, SnsConfig, SqsConfig
from framecap.errors import EndpointUnavailable, MissingError
from framecap.events.aws import AwsMessages
from tests.events.factory import an_event
from tests.sqs import TestQueue, queue, sqs_server

__all__ = ["queue", "sqs_server"]

S3 = S3Config(region="us-east-1")


def make(config: SnsConfig | SqsConfig) -> AwsMessages:
    return AwsMessages(config, S3, 5.0, "rule 'dog'")


def test_a_queue(queue: TestQueue) -> None:
    event = an_event(caption="Ein Hund läuft.")
    messages = make(SqsConfig(queue=queue.url))
    messages.deliver(event)
    messages.close()
    (received,) = queue.client.receive_message(QueueUrl=queue.url, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(received["Body"])["caption"] == "Ein Hund läuft."
    assert {name: one["StringValue"] for name, one in received["MessageAttributes"].items()} == {
        "id": event.id,
        "rule": "dog",
    }


def test_a_fifo_queue_keeps_each_event_once(queue: TestQueue) -> None:
    name = f"events-{secrets.token_hex(4)}.fifo"
    url = queue.client.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"]
    messages = make(SqsConfig(queue=url))
    for number in (1, 2, 1):
        messages.deliver(an_event(number))
    assert [json.loads(one["Body"])["frame"] for one in queue.receive(url=url)] == ["door/1.jpg", "door/2.jpg"]


def test_a_topic(queue: TestQueue, sqs_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", sqs_server)
    topics: Any = boto3.client("sns", endpoint_url=sqs_server, region_name="us-east-1")
    topic = topics.create_topic(Name=f"events-{secrets.token_hex(4)}")["TopicArn"]
    arn = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    make(SnsConfig(topic=topic)).deliver(an_event())
    (received,) = queue.receive()
    assert json.loads(json.loads(received["Body"])["Message"])["id"] == an_event().id


def test_outage_is_reported(queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EndpointUnavailable, match=r"NonExistentQueue|QueueDoesNotExist"):
        make(SqsConfig(queue=f"{queue.url}-not")).deliver(an_event())
    with pytest.raises(EndpointUnavailable, match="cannot be reached"):
        make(SqsConfig(queue="http://127.0.0.1:1/1/q")).deliver(an_event())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MissingError, match="rule 'dog': no AWS credentials"):
        make(SqsConfig(queue=queue.url))
