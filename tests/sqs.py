"""A real SQS-like server over HTTP (moto's), in a process of its own on a free loopback port, and queues in it.

`from tests.sqs import sqs_server, queue` in a test module makes the fixtures known there.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60.0
RECEIVES = 10  # before the dead-letter queue
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class TestQueue:
    """A queue and its dead-letter queue."""

    __test__ = False

    client: Any
    url: str
    dead_url: str

    def send(self, *bodies: str | object) -> None:
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        for start in range(0, len(texts), 10):
            entries = [{"Id": str(n), "MessageBody": text} for n, text in enumerate(texts[start : start + 10])]
            assert not self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")

    def receive(self, wait: int = 0, visibility: int = 30, url: str | None = None) -> list[dict[str, Any]]:
        """As another consumer."""
        answer = self.client.receive_message(
            QueueUrl=url or self.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait,
            VisibilityTimeout=visibility,
            MessageSystemAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def counts(self, url: str | None = None) -> tuple[int, int]:
        """Messages to be received, and in somebody's hand."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)["Attributes"]
        visible, hidden = (int(found[name]) for name in names)
        return visible, hidden


@pytest.fixture(scope="session")
def sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=out, stderr=out)
        try:
            _wait_until_it_answers(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, f"the SQS server ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < ends, f"the SQS server does not answer: {log.read_text()[-2000:]}"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def queue(sqs_server: str, monkeypatch: pytest.MonkeyPatch) -> TestQueue:
    """A new queue with a dead-letter queue; this process's AWS credentials are good for it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return make_queue(sqs_server)


def make_queue(server: str, receives: int | None = RECEIVES) -> TestQueue:
    import boto3

    client = boto3.client(
        "sqs", endpoint_url=server, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    name = f"frames-{secrets.token_hex(4)}"
    dead_url = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    attributes = {}
    if receives is not None:
        arn = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})
    url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return TestQueue(client, url, dead_url)
