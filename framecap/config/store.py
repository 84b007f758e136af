"""The schema of config.yaml's section store: where frames and sidecars live."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framecap.config.fields import PositiveSeconds, Section, Text


class S3Config(Section):
    """How s3:// addresses (and SQS) are reached. Credentials come through AWS's own chain, never through here."""

    endpoint: Text | None = Field(None, description="another server than AWS, such as http://127.0.0.1:8333")
    region: Text | None = Field(None, description="null: as AWS's own settings say")
    profile: Text | None = Field(None, description="of ~/.aws/config; null: as AWS's own settings say")
    path_style: bool = Field(False, description="server/bucket/key instead of bucket.server/key; many servers need it")
    encryption: Literal["AES256", "aws:kms"] | None = Field(None, description="of new objects; null: the bucket's own")
    kms_key: Text | None = Field(None, description="for aws:kms; null: the account's default key")
    storage_class: Text | None = Field(None, description="of frames, such as STANDARD_IA; null: the bucket's own")
    checksums: Literal["auto", "when_required", "always"] = Field(
        "auto", description="of requests and answers; auto: always on AWS, where they are required on other servers"
    )
    connect_timeout_seconds: PositiveSeconds = 5.0
    read_timeout_seconds: PositiveSeconds = 20.0
    attempts: int = Field(5, ge=1, le=20, description="tries of a call (botocore's standard retry mode)")


class StoreConfig(Section):
    """Where frames and sidecars live."""

    frames: Text = Field("./frames", description="directory, mount point of a bucket, or s3://bucket/prefix")
    sidecars: Text | None = Field(None, description="place for the sidecars; null: beside their frames")
    s3: S3Config = S3Config()
