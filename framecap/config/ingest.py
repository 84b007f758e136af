"""The schema of config.yaml's section ingest: which frames are pending."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from framecap.config.fields import PositiveSeconds, Seconds, Section, Text


class IngestConfig(Section):
    """Which frames are pending."""

    scan_seconds: PositiveSeconds = Field(2.0, description="between two scans")
    full_scan_seconds: PositiveSeconds = Field(600.0, description="between two scans of everything, not only of what is new")
    lookback_seconds: Seconds = Field(3600.0, description="how far before the newest frame a scan still looks")
    settle_seconds: Seconds = Field(10.0, description="an empty or truncated frame is failed when unchanged for so long")
    hints: Literal["auto", "on", "off"] = Field("auto", description="file-system events; auto: on local disks only")
    shard: str | None = Field(
        None, pattern=r"^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$", description="2/8: the second of eight equal shares; null: all"
    )
    queue: Text | None = Field(None, description="URL of an SQS queue of S3 events, read instead of scanning; null: none")
    visibility_seconds: int = Field(60, ge=10, le=43_200, description="a message is another's when not renewed for so long")

    @model_validator(mode="after")
    def _a_share_that_exists(self) -> IngestConfig:
        if self.shard is not None:
            number, _, count = self.shard.partition("/")
            if int(number) > int(count):
                raise ValueError(f"shard {self.shard!r}: the first number is at most the second")
            if self.queue is not None:
                raise ValueError("shard and queue: a queue shares the frames out itself; take one of the two")
        return self
