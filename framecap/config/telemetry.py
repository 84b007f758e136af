"""The schema of config.yaml's sections log and telemetry."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framecap.config.fields import Section, Text


class LogConfig(Section):
    """Log lines: for people on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class TelemetryConfig(Section):
    """/metrics, /livez and /readyz over HTTP, for capture and work."""

    host: Text = Field("127.0.0.1", description="address to listen on; 0.0.0.0 lets everybody in")
    port: int | None = Field(None, ge=0, le=65_535, description="null: none of them is served; 0: a free one")
