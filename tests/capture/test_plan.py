"""What is configured becomes one plan per camera, or an error before anything starts."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framecap.capture.plan import make_plans
from framecap.capture.sampling import Sampling
from framecap.config import CameraConfig, CaptureConfig
from framecap.errors import ConfigError, SourceNotFound


@pytest.fixture
def video(tmp_path: Path) -> str:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return str(path)


@pytest.mark.parametrize(
    ("camera", "everybody", "expected"),
    [
        ({}, {}, Sampling(fps=1.0)),
        ({}, {"fps": None}, Sampling()),
        ({}, {"every": 5}, Sampling(fps=1.0, every=5)),  # `every` decides
        ({"fps": 2}, {"every": 5}, Sampling(fps=2)),
        ({"every": 3}, {"fps": 9}, Sampling(every=3)),
    ],
)
def test_the_cameras_own_sampling_comes_first(
    video: str, camera: dict[str, float], everybody: dict[str, float], expected: Sampling
) -> None:
    config = CaptureConfig(cameras=(CameraConfig(source=video, **camera),), **everybody)
    assert make_plans(config)[0].sampling == expected


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (None, datetime.fromtimestamp(1_700_000_000, UTC)),
        ("2026-11-22T10:30:00+01:00", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_the_start_of_a_file(video: str, text: str | None, start: datetime) -> None:
    assert make_plans(CaptureConfig(cameras=(CameraConfig(source=video),), start_time=text))[0].start == start


def test_no_cameras() -> None:
    with pytest.raises(ConfigError, match="name a source"):
        make_plans(CaptureConfig())


def test_one_camera_that_is_not_there_stops_all(video: str) -> None:
    cameras = (CameraConfig(source=video), CameraConfig(source="nowhere.mp4"))
    with pytest.raises(SourceNotFound, match="nowhere"):
        make_plans(CaptureConfig(cameras=cameras))


def test_a_camera_that_is_not_plugged_in_stops_no_other_one(video: str) -> None:
    cameras = tuple(CameraConfig(source=source) for source in ("97", "/dev/v4l/by-id/door", video))
    plans = make_plans(CaptureConfig(cameras=cameras))
    assert [(plan.name, plan.source.unplugged) for plan in plans] == [("camera-97", True), ("door", True), ("clip", False)]
    assert make_plans(CaptureConfig(cameras=cameras[:1]))[0].source.live


def test_two_cameras_that_would_share_a_name_are_refused_without_their_passwords() -> None:
    cameras = (CameraConfig(source="rtsp://u:hunter2@nvr/1"), CameraConfig(source="rtsp://u:hunter2@nvr/2"))
    with pytest.raises(ConfigError, match=r"named 'nvr'.*nvr/1.*nvr/2") as caught:
        make_plans(CaptureConfig(cameras=cameras))
    assert "hunter2" not in str(caught.value)
