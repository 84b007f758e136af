"""An SQS queue behind its URL: messages in and out, in batches of ten, with errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from framecap.config import S3Config
from framecap.errors import ConfigError, FramecapError, MissingError, QueueUnavailable
from framecap.telemetry import mask

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

BATCH = 10  # messages in a call: SQS's limit
SLOW_POLL_SECONDS = 20  # SQS's limit of a long poll

_AWS_HOST = re.compile(r"sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress", "404")
_REFUSED = (
    *("AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken"),
    *("SignatureDoesNotMatch", "InvalidSecurity", "MissingAuthenticationToken", "InvalidAccessKeyId", "403"),
    *("InvalidSignatureException", "ExpiredTokenException", "OptInRequired", "KMS.AccessDeniedException", "KmsAccessDenied"),
)
_RIGHTS = "sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes (reconcile: SendMessage)"


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message. `sent` is in Unix seconds; `receipt` is what later calls name; `count` says the how-manieth receive."""

    id: str
    receipt: str
    body: str
    sent: float
    count: int


@dataclass(frozen=True, slots=True)
class Redrive:
    """A message is received `limit` times; instead of once more it goes to the dead-letter queue."""

    limit: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages are there, roughly: to be received now, leased by a worker, delayed."""

    visible: int
    in_flight: int
    delayed: int


class SqsQueue:
    """Safe to use from several threads. Each call raises QueueUnavailable, with what to do, where it cannot be done."""

    def __init__(self, url: str, config: S3Config, renewal_seconds: float = 20.0) -> None:
        """`renewal_seconds`: so long after it was due a renewal must have come. Raises ConfigError and MissingError."""
        self.url = url
        parts = _checked(url)
        session = _session(config, parts.netloc)
        seconds = config.read_timeout_seconds
        self._patient = _client(session, parts, config, SLOW_POLL_SECONDS + seconds, config.attempts)
        self._client = _client(session, parts, config, seconds, config.attempts)
        self._hasty = _client(session, parts, config, min(seconds, renewal_seconds / 4), 1)

    def check(self) -> Redrive | None:
        """As `redrive`. Raises ConfigError and MissingError for what waiting will not heal (no such queue, no right)."""
        try:
            return self.redrive()
        except QueueUnavailable as error:
            kind = QueueUnavailable if error.__cause__ is None else _Problem.of(error.__cause__, "").kind
            if kind is QueueUnavailable:
                raise
            raise kind(str(error)) from None

    def redrive(self) -> Redrive | None:
        """The queue's redrive policy, None without one."""
        found = self._attributes("RedrivePolicy", "VisibilityTimeout")
        if "VisibilityTimeout" not in found:
            raise QueueUnavailable(f"queue {mask(self.url)}: the answer is none of SQS's: is the URL right?")
        policy = found.get("RedrivePolicy")
        try:
            return None if policy is None else Redrive(int(json.loads(policy)["maxReceiveCount"]))
        except (ValueError, KeyError, TypeError):
            return None

    def waiting(self) -> QueueDepth:
        names: tuple[QueueAttributeNameType, ...] = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        found = self._attributes(*names)
        return QueueDepth(*(int(found.get(name, 0)) for name in names))

    def _attributes(self, *names: QueueAttributeNameType) -> dict[str, str]:
        with self._guarded("GetQueueAttributes"):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
            return {str(name): value for name, value in answer.get("Attributes", {}).items()}

    def receive(self, most: int, wait_seconds: int, visibility_seconds: int) -> list[ReceivedMessage]:
        """At most `most` messages, after `wait_seconds` at the latest; they are ours for `visibility_seconds`."""
        with self._guarded("ReceiveMessage"):
            answer = self._patient.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(most, BATCH),
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
            return [_received(message) for message in answer.get("Messages", [])]

    def delete(self, receipts: Sequence[str]) -> list[int]:
        """Delete up to ten messages; the indices of those for which it is worth trying again."""
        with self._guarded("DeleteMessageBatch"):
            answer = self._client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)],
            )
            return [int(failed["Id"]) for failed in answer.get("Failed", []) if not failed["SenderFault"]]

    def renew(self, receipts: Sequence[str], seconds: int) -> tuple[list[int], list[int]]:
        """Make up to ten messages ours for `seconds` from now (0: everybody's at once); the indices of those to try again,
        and of those that are not ours any more."""
        with self._guarded("ChangeMessageVisibilityBatch"):
            answer = self._hasty.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                    for index, receipt in enumerate(receipts)
                ],
            )
            failed = answer.get("Failed", [])
            retry_later = [int(entry["Id"]) for entry in failed if not entry["SenderFault"]]
            return retry_later, [int(entry["Id"]) for entry in failed if entry["SenderFault"]]

    def send(self, bodies: Sequence[str]) -> list[int]:
        """Send up to ten messages; the indices of those that were not taken."""
        with self._guarded("SendMessageBatch"):
            answer = self._client.send_message_batch(
                QueueUrl=self.url, Entries=[{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
            )
            return [int(failed["Id"]) for failed in answer.get("Failed", [])]

    @contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what is no SQS may answer anything, and renewing credentials may raise anything
            raise QueueUnavailable(f"queue {mask(self.url)}: {_Problem.of(error, call).text}") from error


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong and what to do, and which error that is at the start (QueueUnavailable: waiting may heal it)."""

    text: str
    kind: type[FramecapError] = QueueUnavailable

    @staticmethod
    def of(error: BaseException, call: str) -> _Problem:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        name = type(error).__name__
        if code in _NO_QUEUE:
            return _Problem("there is no such queue: check the name, the account and the region in its URL", ConfigError)
        if code in _REFUSED:
            text = f"{call} was refused ({code}): check the credentials, and that they may {_RIGHTS}"
            return _Problem(text, ConfigError)
        if "Credential" in name or "SSO" in name or "Token" in name:
            return _Problem(f"no usable credentials ({name}): {_CREDENTIALS}", MissingError)
        if code:
            return _Problem(f"{call} failed ({code}): it is tried again")
        return _Problem(f"{call} failed ({name}): is the URL right, and does its host answer?")


_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, renew the login, or give this machine a role"
)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and len(parts.path) > 1 and parts.username is None
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(
            f"ingest.queue: {mask(url)!r} is no queue's URL: give one like "
            "https://sqs.eu-west-1.amazonaws.com/123456789012/NAME"
        )
    if parts.path.endswith(".fifo"):
        raise ConfigError(f"ingest.queue: {mask(url)!r}: S3 sends no events to FIFO queues: give a standard queue")
    return parts


def _session(config: S3Config, host: str) -> boto3.Session:
    import boto3
    from botocore.exceptions import BotoCoreError

    known = _AWS_HOST.fullmatch(host)
    try:
        session = boto3.Session(profile_name=config.profile, region_name=config.region or (known and known["region"]))
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise ConfigError(f"ingest.queue: {mask(str(error))}: look at store.s3 and at ~/.aws/config") from None
    if credentials is None:
        raise MissingError(f"ingest.queue: no AWS credentials: {_CREDENTIALS}")
    return session


def _client(session: boto3.Session, parts: SplitResult, config: S3Config, read_seconds: float, attempts: int) -> SQSClient:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        return session.client(
            "sqs",
            endpoint_url=f"{parts.scheme}://{parts.netloc}",  # a queue's URL names its host, private ones included
            region_name=session.region_name or "us-east-1",  # other servers than AWS do not mind
            config=Config(
                connect_timeout=min(config.connect_timeout_seconds, read_seconds),
                read_timeout=read_seconds,
                retries={"mode": "standard", "total_max_attempts": attempts},
                user_agent_extra="framecap",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"ingest.queue: {mask(str(error))}: look at the URL and at store.s3") from None


def _received(message: Mapping[str, Any]) -> ReceivedMessage:
    attributes = message.get("Attributes", {})
    return ReceivedMessage(
        message["MessageId"],
        message["ReceiptHandle"],
        message.get("Body", ""),
        int(attributes.get("SentTimestamp", 0)) / 1000,
        int(attributes.get("ApproximateReceiveCount", 1)),
    )
