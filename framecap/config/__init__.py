"""The schema of config.yaml: flags, environment, file and defaults in, one frozen Config out.

Order of precedence: a command's flag, then `FRAMECAP__SECTION__KEY` in the environment, then config.yaml, then the default
of its section. Unknown keys, wrong types and YAML tags are refused with the key's name and what is allowed (ConfigError,
exit 2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from framecap.config.captioning import CaptioningConfig, OpenAIConfig, TransformersConfig
from framecap.config.capture import CameraConfig, CaptureConfig, SpoolConfig, Zones
from framecap.config.events import (
    ActionConfig,
    CommandConfig,
    EventsConfig,
    MqttConfig,
    RuleConfig,
    SnsConfig,
    SqsConfig,
    WebhookConfig,
    WhenConfig,
)
from framecap.config.fields import Section
from framecap.config.ingest import IngestConfig
from framecap.config.reading import explain, from_environment, from_flags, merge, read_yaml, refuse_unknown
from framecap.config.refine import RefineBudgetConfig, RefineConfig, RefineWhenConfig
from framecap.config.store import S3Config, StoreConfig
from framecap.config.telemetry import LogConfig, TelemetryConfig
from framecap.config.timeline import TimelineConfig
from framecap.config.train import ReinforceConfig, TrainConfig
from framecap.config.viewer import ViewerConfig
from framecap.config.worker import NearDuplicatesConfig, SteadyCaptionsConfig, WorkerConfig
from framecap.errors import ConfigError
from framecap.telemetry import mask_all

__all__ = [
    "ActionConfig",
    "CameraConfig",
    "CaptioningConfig",
    "CaptureConfig",
    "CommandConfig",
    "Config",
    "EventsConfig",
    "IngestConfig",
    "LogConfig",
    "MqttConfig",
    "NearDuplicatesConfig",
    "OpenAIConfig",
    "RefineBudgetConfig",
    "RefineConfig",
    "RefineWhenConfig",
    "ReinforceConfig",
    "RuleConfig",
    "S3Config",
    "SnsConfig",
    "SpoolConfig",
    "SqsConfig",
    "SteadyCaptionsConfig",
    "StoreConfig",
    "TelemetryConfig",
    "TimelineConfig",
    "TrainConfig",
    "TransformersConfig",
    "ViewerConfig",
    "WebhookConfig",
    "WhenConfig",
    "WorkerConfig",
    "Zones",
    "load_config",
    "masked_yaml",
]


class Config(Section):
    """Everything; one section per package."""

    store: StoreConfig = StoreConfig()
    capture: CaptureConfig = CaptureConfig()
    ingest: IngestConfig = IngestConfig()
    captioning: CaptioningConfig = CaptioningConfig()
    worker: WorkerConfig = WorkerConfig()
    events: EventsConfig = EventsConfig()
    refine: RefineConfig = RefineConfig()
    timeline: TimelineConfig = TimelineConfig()
    log: LogConfig = LogConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    viewer: ViewerConfig = ViewerConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _one_way_of_sampling(self) -> Config:
        names = [camera.name for camera in self.capture.cameras if camera.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"capture.cameras: two cameras are named {twice[0]!r}")
        return self


def load_config(
    path: Path | None = None, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Config:
    """The resolved configuration.

    `path` must exist when given; without it `config.yaml` of the working directory is used where there is one. `flags` maps
    dotted keys (`store.frames`) to values; None means that the flag was not given. Raises ConfigError.
    """
    tree: dict[str, Any] = {}
    origins: list[tuple[str, dict[str, Any]]] = []
    file = path or Path("config.yaml")
    if path is not None or file.is_file():
        origins.append((str(file), read_yaml(file)))
    origins.append(("environment", from_environment(environment)))
    origins.append(("command line", from_flags(flags or {})))
    for origin, values in origins:
        refuse_unknown(values, Config, origin)
        merge(tree, values)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def masked_yaml(config: Config, only_others: bool = False) -> str:
    """The configuration as YAML, credentials masked; or only what is not the default, and an empty text for nothing."""
    masked = mask_all(
        config.model_dump(mode="json", exclude_defaults=only_others, exclude={"train"} if only_others else None)
    )
    if not masked:
        return ""
    return yaml.safe_dump(masked, sort_keys=False, allow_unicode=True, width=1000)
