"""The schema of config.yaml's section capture: sources, sampling, spool."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from framecap.config.fields import Fraction, IsoTime, PositiveSeconds, Seconds, Section, Text

Point = Annotated[tuple[Fraction, Fraction], Field(strict=False)]
Polygon = Annotated[tuple[Point, ...], Field(strict=False, min_length=3, max_length=100)]
Zones = Annotated[tuple[Polygon, ...], Field(strict=False, max_length=100)]


class CameraConfig(Section):
    """One camera of the capture daemon; what is null here is taken from the capture section."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="null: made from the source")
    source: Text = Field(description="file, directory, pattern (img-%04d.jpg), camera number or stream address")
    fps: float | None = Field(None, gt=0, le=1000)
    every: int | None = Field(None, ge=1)
    zones: Zones = Field((), description="polygons that are blacked out: points [x, y] as parts of width and height")


class SpoolConfig(Section):
    """Frames wait on local disk while the store is away."""

    directory: Text | None = Field(None, description="a directory on a local disk; null: no spool")
    max_bytes: int = Field(10_000_000_000, ge=1_000_000, description="of all frames in it; then capture.overflow decides")


class CaptureConfig(Section):
    """framecap capture."""

    cameras: tuple[CameraConfig, ...] = Field((), strict=False, description="what to capture, when no source is given")
    fps: float | None = Field(1.0, gt=0, le=1000, description="frames kept per second of the source; null: all, or every")
    every: int | None = Field(None, ge=1, description="keep every n-th frame instead of fps")
    start_time: IsoTime | None = Field(None, description="ISO 8601 time of a file's first frame; null: from the file")
    jpeg_quality: int = Field(90, ge=1, le=100)
    max_size: int | None = Field(None, ge=16, description="longest side in pixels of stored frames; null: as captured")
    overflow: Literal["wait", "drop_oldest", "drop_newest"] = Field(
        "wait", description="what happens when frames come faster than they can be stored"
    )
    queue: int = Field(32, ge=1, le=10_000, description="frames waiting to be stored, per camera")
    spool: SpoolConfig = SpoolConfig()
    open_timeout_seconds: PositiveSeconds = 10.0
    read_timeout_seconds: PositiveSeconds = 10.0
    stall_seconds: PositiveSeconds = Field(15.0, description="no frame for so long: the reader is killed and restarted")
    frozen_seconds: Seconds = Field(60.0, description="the same image for so long is reported as frozen; 0: never")
    reconnect_min_seconds: PositiveSeconds = 1.0
    reconnect_max_seconds: PositiveSeconds = 30.0
