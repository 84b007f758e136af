"""What users write as a source is recognised, named and shown; what cannot be one is refused with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from framecap.capture.source import SourceKind, parse_source
from framecap.errors import ConfigError, SourceNotFound
from framecap.telemetry import mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("img-10.jpg", "img-2.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "b.jpg.tmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def test_a_video_file(tmp_path: Path) -> None:
    path = tmp_path / "Front door (1).mp4"
    path.write_bytes(b"x")
    source = parse_source(str(path))
    assert (source.kind, source.default_name, source.shown, source.live) == (
        SourceKind.VIDEO,
        "Front-door-1",
        str(path),
        False,
    )


def test_a_relative_path_reaches_the_reader_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")  # "concat:x" or "-i" would mean something to FFmpeg
    monkeypatch.chdir(tmp_path)
    assert parse_source("clip.mp4").address == str(tmp_path / "clip.mp4")


def test_a_directory_is_an_image_sequence_in_the_order_of_its_names(folder: Path) -> None:
    source = parse_source(str(folder))
    assert source.kind is SourceKind.IMAGES
    assert [Path(path).name for path in source.images] == ["a.PNG", "img-10.jpg", "img-2.jpg"]


def test_a_pattern_is_an_image_sequence_in_the_order_of_its_numbers(folder: Path) -> None:
    source = parse_source(str(folder / "img-%d.jpg"))
    assert [Path(path).name for path in source.images] == ["img-2.jpg", "img-10.jpg"]
    assert source.default_name == folder.name


def test_a_pattern_with_a_width_wants_that_many_digits(folder: Path) -> None:
    (folder / "img-0007.jpg").write_bytes(b"x")
    assert [Path(path).name for path in parse_source(str(folder / "img-%04d.jpg")).images] == ["img-0007.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "100%d.mp4"
    path.write_bytes(b"x")
    assert parse_source(str(path)).kind is SourceKind.VIDEO


def test_one_image_is_an_image_sequence_of_one(folder: Path) -> None:
    assert parse_source(str(folder / "img-2.jpg")).images == (str(folder / "img-2.jpg"),)


@pytest.mark.parametrize("text", ["nowhere.mp4", "img-%04d.jpg", "97", "/dev/video97"])
def test_what_is_not_there(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFound, match=r"check the path|holds no images|plug it in"):
        parse_source(text)


@pytest.mark.parametrize("text", ["97", "/dev/video97", "/dev/v4l/by-id/nothing"])
def test_a_camera_that_is_not_plugged_in_can_be_waited_for(text: str) -> None:
    with pytest.raises(SourceNotFound, match="plug it in"):
        parse_source(text)
    source = parse_source(text, may_be_unplugged=True)
    assert (source.kind, source.unplugged) == (SourceKind.DEVICE, True)


@pytest.mark.parametrize("text", ["nowhere.mp4", "/dev/shm/nowhere-97.mp4", "/nowhere/video0"])
def test_a_file_that_is_not_there_is_not_waited_for(text: str) -> None:
    with pytest.raises(SourceNotFound, match="check the path"):
        parse_source(text, may_be_unplugged=True)


def test_a_directory_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="holds no images"):
        parse_source(str(tmp_path))


def test_a_pipe_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceNotFound, match="no file, directory, camera or stream"):
        parse_source(str(tmp_path / "pipe.mp4"))


def test_a_character_device_is_a_camera() -> None:
    source = parse_source("/dev/null")
    assert (source.kind, source.live, source.default_name) == (SourceKind.DEVICE, True, "null")


def test_a_name_too_long_for_the_file_system() -> None:
    with pytest.raises(SourceNotFound, match="check the path"):
        parse_source("x" * 5000)


@pytest.mark.parametrize(
    ("text", "shown", "name"),
    [
        ("rtsp://192.168.1.5:554/Streaming/Channels/101", "rtsp://192.168.1.5:554/Streaming/Channels/101", "192.168.1.5"),
        ("RTSP://admin:pw@cam.local/live", "rtsp://***@cam.local/live", "cam.local"),
        ("http://cam/video?user=admin&pwd=secret", "http://cam/video?***", "cam"),
        ("rtmp://live.example.com/app/stream-key", "rtmp://live.example.com/app/***", "live.example.com"),
        ("rtsp://u:p%40ss@[fe80::1]:8554/x", "rtsp://***@[fe80::1]:8554/x", "fe80-1"),
        ("rtsp://h/user=admin_password=tlJwpbo6_channel=1.sdp", "rtsp://h/user=admin_password=***", "h"),
        ("rtsp://h/cam#secret", "rtsp://h/cam", "h"),
    ],
)
def test_a_stream(text: str, shown: str, name: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.live, source.address) == (SourceKind.STREAM, True, text)
    assert (source.shown, source.default_name) == (shown, name)


@pytest.mark.parametrize("text", ["ftp://host/x", "file:///etc/passwd", "concat://a"])
def test_another_kind_of_stream_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="rtsp, rtsps, rtmp"):
        parse_source(text)


@pytest.mark.parametrize(
    "text",
    ["rtsp://u:pa/ss@host/x", "rtsp://u:12/ss@host", "rtsp://u:p?a@host", "rtsp://u:p a@host/", "rtsp://", "rtsp://h:port/"],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ConfigError, match="%2F") as refused:
        parse_source(text)
    assert mask(str(refused.value)) == str(refused.value), "masking must leave the advice whole"
