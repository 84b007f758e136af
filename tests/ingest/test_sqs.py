"""What a queue that is wrong, forbidden or none at all says; all else that it does is tested with who uses it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from framecap.config import S3Config
from framecap.errors import ConfigError, MissingError, QueueUnavailable
from framecap.ingest.sqs import SqsQueue
from tests.sqs import TestQueue, queue, sqs_server

__all__ = ["queue", "sqs_server"]


class _Answer(BaseHTTPRequestHandler):
    """Whatever is asked, `answer` (status, body) is the answer."""

    answer: tuple[int, bytes]

    def do_POST(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (403, b'{"__type": "AccessDeniedException"}', ConfigError, "GetQueueAttributes was refused .* sqs:ReceiveMessage"),
        (403, b'{"__type": "InvalidClientTokenId"}', ConfigError, "check the credentials"),
        (200, b"<html>welcome</html>", QueueUnavailable, "is the URL right"),
        (400, b'{"__type": "RequestThrottled"}', QueueUnavailable, "it is tried again"),
    ],
)
def test_what_the_queue_refuses_is_reported(
    queue: TestQueue, status: int, body: bytes, error: type[Exception], says: str
) -> None:
    answering = type("Answer", (_Answer,), {"answer": (status, body)})
    with HTTPServer(("127.0.0.1", 0), answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(error, match=says):
                SqsQueue(f"http://127.0.0.1:{server.server_port}/1/frames", S3Config(attempts=1)).check()
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("frames", ConfigError, "is no queue's URL: give one like"),
        ("https://user:secret@sqs.us-east-1.amazonaws.com/1/x", ConfigError, r"\*\*\*"),
        ("https://sqs.us-east-1.amazonaws.com/1/frames.fifo", ConfigError, "give a standard queue"),
        ("{server}/123456789012/nobody", ConfigError, "there is no such queue"),
    ],
)
def test_a_wrong_url_is_reported_at_the_start(
    sqs_server: str, queue: TestQueue, url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        SqsQueue(url.format(server=sqs_server), S3Config()).check()
    assert "secret" not in str(caught.value)


def test_no_credentials_are_reported_at_the_start(tmp_path: Path, queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(MissingError, match="no AWS credentials: set AWS_ACCESS_KEY_ID"):
        SqsQueue(queue.url, S3Config())
    with pytest.raises(ConfigError, match="nobody"):
        SqsQueue(queue.url, S3Config(profile="nobody"))


@pytest.mark.parametrize("error", [RuntimeError("still expired"), FileNotFoundError(2, "No such file"), ValueError("?")])
def test_whatever_a_call_raises_is_outage_of_the_queue(
    queue: TestQueue, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Credentials are renewed in the middle of a call, by code that lets everything through."""
    sqs = SqsQueue(queue.url, S3Config(attempts=1))

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(sqs._hasty, "change_message_visibility_batch", fail)
    with pytest.raises(QueueUnavailable, match="ChangeMessageVisibilityBatch failed"):
        sqs.renew(["x"], 10)
