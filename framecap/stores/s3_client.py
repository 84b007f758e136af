"""An s3:// address and its settings in; its parts, and a boto3 client, out. Credentials come from AWS's own chain only."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import framecap
from framecap.errors import ConfigError, MissingError
from framecap.telemetry import mask

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from framecap.config import S3Config

SCHEME = "s3://"
CONNECTIONS = 64  # kept open at most: the worker has 13 threads that use them, capture one for each camera

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket and the prefix of the keys below which framecap works: empty, or with a final `/`."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


def is_s3(address: str) -> bool:
    return address.lower().startswith(SCHEME)


def parse_address(address: str, setting: str = "address") -> S3Address:
    """The parts of `s3://bucket/prefix`. Raises ConfigError, naming the setting that the address comes from."""
    bucket, _, prefix = address[len(SCHEME) :].partition("/")
    prefix = prefix.rstrip("/")
    if not is_s3(address) or not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{setting}: {mask(address)!r}: s3://bucket/prefix is expected (credentials come from the environment or "
            "~/.aws, another server than AWS is store.s3.endpoint)"
        )
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or any(unicodedata.category(c) == "Cc" for c in prefix):
        raise ConfigError(f"{setting}: {mask(address)!r}: the prefix has an empty part, '.', '..' or a control character")
    return S3Address(bucket, f"{prefix}/" if prefix else "")


def make_client(config: S3Config) -> S3Client:
    """A client that several threads may use. Raises ConfigError, and MissingError where there are no credentials."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from framecap.stores.s3_errors import explain

    # Other servers than AWS often do not know the checksums that boto3 adds where it may.
    checksums: Literal["when_required", "when_supported"] | None = "when_required"
    if config.checksums == "always":
        checksums = "when_supported"
    elif config.checksums == "auto" and not config.endpoint:
        checksums = None
    try:
        session = boto3.session.Session(profile_name=config.profile, region_name=config.region)
        if session.get_credentials() is None:
            raise MissingError(
                "no credentials for S3: AWS's own chain found none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "write ~/.aws/credentials, or give this machine a role"
            )
        return session.client(
            "s3",
            endpoint_url=config.endpoint,
            config=Config(
                connect_timeout=config.connect_timeout_seconds,
                read_timeout=config.read_timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": config.attempts},
                max_pool_connections=CONNECTIONS,
                tcp_keepalive=True,
                s3={"addressing_style": "path" if config.path_style else "auto"},
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                user_agent_extra=f"framecap/{framecap.__version__}",
            ),
        )
    except BotoCoreError as error:
        raise explain(error).at_start("store.s3") from None
    except ValueError:
        raise ConfigError(
            f"store.s3.endpoint: {mask(str(config.endpoint))!r}: an address such as http://127.0.0.1:8333 is expected"
        ) from None
