"""The configured cameras in; what each will read, its name and its times out. Refuses before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from framecap.capture.creation import recording_start
from framecap.capture.sampling import Sampling
from framecap.capture.source import Source, SourceKind, parse_source
from framecap.capture.zones import Zone, check_zones
from framecap.config import CameraConfig, CaptureConfig
from framecap.errors import ConfigError, SourceNotFound


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """One camera. `start` is the time of a recording's first frame, where it is known."""

    name: str
    source: Source
    sampling: Sampling
    start: datetime | None
    zones: tuple[Zone, ...] = ()


def make_plans(config: CaptureConfig) -> tuple[CapturePlan, ...]:
    """A plan for each camera. Raises SourceNotFound and ConfigError.

    A camera that is not plugged in has a plan, too: it is tried like a stream that does not answer, and stops no other one.
    """
    if not config.cameras:
        raise ConfigError("nothing to capture: name a source, or list some under capture.cameras")
    start = None if config.start_time is None else datetime.fromisoformat(config.start_time)  # UTC, or with its zone
    plans = tuple(_plan(camera, config, start) for camera in config.cameras)
    for number, plan in enumerate(plans):
        same = [other for other in plans[:number] if other.name == plan.name]
        if same:
            raise ConfigError(
                f"two cameras would be named {plan.name!r} ({same[0].source.shown} and {plan.source.shown}): "
                "give them a name each under capture.cameras"
            )
    return plans


def _plan(camera: CameraConfig, config: CaptureConfig, start: datetime | None) -> CapturePlan:
    source = parse_source(camera.source, may_be_unplugged=True)
    if source.kind is SourceKind.VIDEO and start is None:
        try:
            start = recording_start(Path(source.address))
        except OSError as error:
            raise SourceNotFound(
                f"source {source.shown!r} cannot be read ({error.strerror}): check its permissions"
            ) from None
    name = camera.name or source.default_name
    check_zones(camera.zones, name)
    return CapturePlan(name, source, _sampling(camera, config), start, camera.zones)


def _sampling(camera: CameraConfig, config: CaptureConfig) -> Sampling:
    """The camera's own wish before everybody's; `every` before `fps` (which has a default)."""
    if camera.every is not None or camera.fps is not None:
        return Sampling(fps=camera.fps, every=camera.every)
    return Sampling(fps=config.fps, every=config.every)
