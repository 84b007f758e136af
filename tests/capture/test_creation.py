"""The time of a video file: its container's, where there is one that makes sense, else the file's."""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.capture.creation import from_mtime, recording_start
from tests.capture.videos import make_video, set_creation_time

SECONDS_1904_TO_1970 = 2_082_844_800
MTIME = 1_700_000_000.25


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "clip.mp4", 2, codec="mp4v")


def test_the_containers_creation_time(video: Path) -> None:
    at = datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)
    assert recording_start(set_creation_time(video, int(at.timestamp()) + SECONDS_1904_TO_1970)) == at


@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 1 << 31])  # unknown; Unix seconds by mistake; 1972
def test_a_creation_time_that_cannot_be_true_gives_way_to_the_files(video: Path, seconds: int) -> None:
    os.utime(set_creation_time(video, seconds), (MTIME, MTIME))
    assert recording_start(video) == datetime.fromtimestamp(MTIME, UTC)


def test_a_64_bit_header_and_a_64_bit_box(tmp_path: Path) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    mvhd = b"\1\0\0\0" + struct.pack(">Q", int(at.timestamp()) + SECONDS_1904_TO_1970) + bytes(100)
    box = struct.pack(">I4sQ", 1, b"mvhd", len(mvhd) + 16) + mvhd
    path = tmp_path / "x.mov"
    path.write_bytes(struct.pack(">I4s", 8, b"wide") + struct.pack(">I4s", 0, b"moov") + box)  # size 0: to the end
    assert recording_start(path) == at


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x01moov", b"not a video at all", bytes(100)])
def test_other_files_have_the_files_time(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    os.utime(path, (MTIME, MTIME))
    assert recording_start(path) == datetime.fromtimestamp(MTIME, UTC)


@given(st.data())
def test_a_damaged_header_never_fails(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = _whole_video(tmp_path_factory)
    at = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(max_size=20))
    path = tmp_path_factory.getbasetemp() / "damaged.mp4"
    path.write_bytes(whole[:at] + damage + whole[at + data.draw(st.integers(0, 20)) :])
    assert 1970 <= recording_start(path).year <= 2100


def _whole_video(factory: pytest.TempPathFactory) -> bytes:
    path = factory.getbasetemp() / "whole.mp4"
    return (path if path.exists() else make_video(path, 2, codec="mp4v")).read_bytes()


@given(st.integers(-(1 << 62), 1 << 62))
def test_any_modification_time_fits_into_a_key(nanoseconds: int) -> None:
    assert 1970 <= from_mtime(nanoseconds).year <= 2100
