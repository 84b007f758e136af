"""An event in, a message to a topic of SNS or a queue of SQS out. Credentials come from AWS's own chain only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from framecap.config import S3Config, SnsConfig, SqsConfig
from framecap.errors import ConfigError, EndpointUnavailable, EventRefused, MissingError
from framecap.events.event import Event
from framecap.events.identifiers import SQS_GROUP
from framecap.telemetry import mask

_FIFO = ".fifo"
_THE_MESSAGE = ("InvalidParameter", "InvalidParameterValue", "InvalidMessageContents")  # is what is wrong, by these codes


class AwsMessages:
    """One topic or queue. If it is FIFO, a camera's events keep their order, and their ids are what it de-duplicates by."""

    def __init__(self, config: SnsConfig | SqsConfig, s3: S3Config, timeout: float, where: str) -> None:
        """Region and profile are those of store.s3, an address's region goes first. Raises ConfigError and MissingError."""
        if isinstance(config, SnsConfig):
            self.target = config.topic
            client = _client("sns", s3, config.topic.split(":")[3], None, timeout, where)
            self._address, self._text, self._send = {"TopicArn": config.topic}, "Message", client.publish
        else:
            self.target = config.queue
            parts = urlsplit(config.queue)
            host = (parts.hostname or "").split(".")
            region = host[1] if host[0] == "sqs" and len(host) > 2 else None
            client = _client("sqs", s3, region, f"{parts.scheme}://{parts.netloc}", timeout, where)
            self._address, self._text, self._send = {"QueueUrl": config.queue}, "MessageBody", client.send_message
        self._client = client

    def deliver(self, event: Event) -> None:
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        named = {"id": event.id, "rule": event.rule}
        message: dict[str, Any] = {
            **self._address,
            self._text: event.body.decode(),
            "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in named.items()},
        }
        if self.target.endswith(_FIFO):
            message |= {"MessageGroupId": SQS_GROUP.identifier(event.camera), "MessageDeduplicationId": event.id}
        try:
            self._send(**message)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            text = f"{self.target}: {code}: look at its address, and that these credentials may send to it"
            raise (EventRefused if code in _THE_MESSAGE else EndpointUnavailable)(text) from None
        except (BotoCoreError, HTTPError) as error:
            raise EndpointUnavailable(f"{self.target} cannot be reached ({type(error).__name__})") from None

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        """It ends with the process."""


def _client(service: Any, s3: S3Config, region: str | None, endpoint: str | None, timeout: float, where: str) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    calls = Config(connect_timeout=timeout, read_timeout=timeout, retries={"mode": "standard", "total_max_attempts": 1})
    try:
        session = boto3.Session(profile_name=s3.profile, region_name=region or s3.region)
        if session.get_credentials() is None:
            raise MissingError(f"{where}: no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the like")
        return session.client(service, region_name=session.region_name or "us-east-1", endpoint_url=endpoint, config=calls)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"{where}: {mask(str(error))}: look at store.s3 and at ~/.aws/config") from None
