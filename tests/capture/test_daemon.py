"""Capturing files: every frame under its own time, twice the same, damaged ones as far as they go, several at once."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from framecap.capture.daemon import run_capture
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import SourceNotFound
from framecap.frames import FrameName, parse_key, read_position
from framecap.stores.directory import DirectoryStore
from framecap.stores.local_backend import LocalBackend
from tests import command
from tests.capture.memory_store import MemoryStore
from tests.capture.running import capture, capture_config, eventually, readers, running
from tests.capture.videos import (
    SIZE,
    make_raw_mjpeg,
    make_uneven_video,
    make_video,
    number_in,
    numbered_image,
    set_creation_time,
    size_of,
)
from tests.decoding.image_files import GREY, RGBA, Entry, exif_block, jpeg_with_exif, oriented, png, png_chunk
from tests.system_packages import needs_package
from tests.worker.images import encoded, huge_png, quadrants, scene

START = datetime(2026, 11, 22, 23, 59, 58, tzinfo=UTC)
START_TEXT = START.isoformat()
VTEST = "/usr/share/doc/opencv-doc/examples/data/vtest.avi"


def names(store: MemoryStore) -> list[FrameName]:
    found = [parse_key(key) for key in sorted(store.frames)]
    assert None not in found
    return [name for name in found if name is not None]


def offsets(store: MemoryStore) -> list[float]:
    """Seconds from START of each frame."""
    return [round((name.captured_at - START).total_seconds(), 6) for name in names(store)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")])
def test_every_frame_has_its_number_time_and_position(tmp_path: Path, store: MemoryStore, name: str, codec: str) -> None:
    video = make_video(tmp_path / name, 30, fps=10, codec=codec)
    summary = capture(store, video, start_time=START_TEXT)
    assert summary.captured == 30
    assert summary.problems == ()
    assert not summary.cameras[0].unfinished
    assert offsets(store) == [round(index / 10, 6) for index in range(30)]  # over midnight: other folders
    assert [name.sequence for name in names(store)] == list(range(30))
    assert [number_in(data) for data in store.in_order()] == list(range(30))
    assert [read_position(data) for data in store.in_order()] == [round(index / 10, 6) for index in range(30)]


@pytest.mark.parametrize(("sampling", "numbers"), [({"fps": 2.0}, [0, 5, 10, 15]), ({"every": 7}, [0, 7, 14])])
def test_sampling(tmp_path: Path, store: MemoryStore, sampling: dict[str, float], numbers: list[int]) -> None:
    capture(store, make_video(tmp_path / "a.avi", 20, fps=10), **sampling)
    assert [number_in(data) for data in store.in_order()] == numbers
    assert [name.sequence for name in names(store)] == numbers


def test_uneven_timestamps_are_the_streams_own(tmp_path: Path, store: MemoryStore) -> None:
    tenths = [0, 1, 2, 10, 11, 30, 31, 32, 60]
    capture(store, make_uneven_video(tmp_path / "u.mp4", tenths), start_time=START_TEXT, fps=1.0)
    assert offsets(store) == [0, 1, 3, 6]
    assert [number_in(data) for data in store.in_order()] == [0, 3, 5, 8]


def test_a_second_run_stores_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = DirectoryStore(LocalBackend(tmp_path / "store"))
    video = set_creation_time(make_video(tmp_path / "a.mp4", 12, codec="mp4v"), 3_900_000_000)
    reported: list[str] = []
    stop = threading.Event()
    first = run_capture(capture_config(video), store, stop, reported.append)
    before = {entry.key: entry.etag for entry in store.list()}
    os.utime(video)  # its own time counts, not the file's
    second = run_capture(capture_config(video), store, stop, reported.append)
    other = run_capture(capture_config(video, jpeg_quality=20), store, stop, reported.append)
    assert {entry.key: entry.etag for entry in store.list()} == before
    assert sorted(reported) == sorted(before)
    assert (first.captured, first.already_there, second.captured, second.already_there) == (12, 0, 0, 12)
    assert (other.captured, other.already_there, other.cameras[0].dropped) == (0, 0, {"key_taken": 12})


def test_a_file_without_timestamps_falls_back_to_its_frame_rate_and_says_so(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    raw = needs_h264(tmp_path)
    capture(store, raw, start_time=START_TEXT)
    assert offsets(store) == [round(index / 25, 6) for index in range(10)]
    assert [record.levelname for record in caplog.records if "lacks usable timestamps" in record.message] == ["WARNING"]


def needs_h264(tmp_path: Path) -> Path:
    ffmpeg = needs_package("ffmpeg", "/usr/bin/ffmpeg")
    path = tmp_path / "raw.h264"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x96:rate=25", "-frames:v", "10", path], check=True
    )
    return path


def test_real_cctv_footage(store: MemoryStore) -> None:
    capture(store, needs_package("opencv-doc", VTEST), fps=1.0, start_time=START_TEXT)
    assert offsets(store) == list(range(80))  # 795 frames, 10 a second
    assert {size_of(data) for data in store.in_order()} == {(768, 576)}


def test_quality_and_size(tmp_path: Path, store: MemoryStore) -> None:
    video = make_video(tmp_path / "a.avi", 1)
    fine, coarse, small, large = MemoryStore(), MemoryStore(), MemoryStore(), MemoryStore()
    capture(fine, video, jpeg_quality=100)
    capture(coarse, video, jpeg_quality=5)
    capture(small, video, max_size=80)
    capture(large, video, max_size=1000)
    assert len(coarse.in_order()[0]) < len(fine.in_order()[0])
    assert size_of(small.in_order()[0]) == (80, 48)
    assert size_of(large.in_order()[0]) == SIZE


def test_a_new_resolution_in_mid_stream_gives_the_new_images(tmp_path: Path, store: MemoryStore) -> None:
    sizes = [(160, 96)] * 3 + [(320, 240)] * 3 + [(64, 48)] * 3
    images = [numbered_image(number, size) for number, size in enumerate(sizes)]
    summary = capture(store, make_raw_mjpeg(tmp_path / "a.mjpeg", images))
    assert summary.captured == 9
    assert [number_in(data) for data in store.in_order()] == list(range(9))


def test_an_image_sequence(tmp_path: Path, store: MemoryStore) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), numbered_image(number))
        os.utime(path, (START.timestamp(), START.timestamp()))  # unpacked in the same second
    assert capture(store, folder, fps=1.0).captured == 5
    assert [number_in(data) for data in store.in_order()] == list(range(5))
    assert offsets(store) == [0] * 5
    assert [read_position(data) for data in store.in_order()] == [None] * 5
    assert capture(store, folder, fps=1.0).already_there == 5


def test_an_image_sequence_with_a_start_time(tmp_path: Path, store: MemoryStore) -> None:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"img-{number:04d}.jpg"), numbered_image(number))
    capture(store, tmp_path / "img-%04d.jpg", start_time=START_TEXT, every=2)
    assert offsets(store) == [0, 2, 4]
    assert [number_in(data) for data in store.in_order()] == [0, 2, 4]


def test_broken_images_of_a_sequence_are_counted_and_the_others_stored(tmp_path: Path, store: MemoryStore) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered_image(number))
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes(b"<html>")
    summary = capture(store, tmp_path)
    assert [number_in(data) for data in store.in_order()] == [0, 3]
    assert summary.cameras[0].dropped == {"undecodable": 2}


def test_broken_images_are_skipped_with_the_reason(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encoded(scene(64, 48))
    broken = {"empty": b"", "page": b"<html>", "cut": whole[: len(whole) // 2], "bomb": huge_png(10_001)}
    for name, data in broken.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    (tmp_path / "whole.jpg").write_bytes(whole)
    with caplog.at_level(logging.WARNING):
        assert capture(store, tmp_path).captured == 1
    reasons = {
        "empty": "is empty",
        "page": "starts with '<html>'",
        "cut": "the end of the jpeg",
        "bomb": "more than 100000000",
    }
    for name, reason in reasons.items():
        assert any(f"{name}.jpg" in line and reason in line for line in caplog.messages), caplog.messages


@pytest.mark.faults(13)
def test_a_folder_is_captured_as_the_worker_decodes_it(tmp_path: Path, store: MemoryStore) -> None:
    """Transparency over white and nothing that it hides, orientation applied, deep and grey images alike."""
    clear = quadrants(96, 64).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = jpeg_with_exif(encoded(quadrants(96, 64)), oriented(6, 4), exif_block((Entry(0x0128, 3, (2,)),)))
    grey = png(np.full((64, 96, 1), 9, np.uint16), GREY, 4, before=png_chunk(b"tRNS", b"\0\x09"))
    files = {
        "a.png": encoded(clear, "PNG"),
        "b.webp": encoded(clear, "WEBP"),
        "c.png": encoded(clear.quantize(8), "PNG"),
        "d.jpg": turned,
        "e.png": grey,
        "f.png": png(np.full((64, 96, 4), 0x40FF, np.uint16), RGBA, 16),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert capture(store, tmp_path, jpeg_quality=100, start_time=START_TEXT).captured == len(files)
    square = Preprocessing(32)
    for stored, data in zip(store.in_order(), files.values(), strict=True):
        seen, expected = (decode(one, square, 1_000_000) for one in (stored, data))
        assert (seen.width, seen.height) == (expected.width, expected.height)
        assert np.abs(seen.pixels.astype(int) - expected.pixels).max() <= 12  # JPEG blurs edges of colour
        assert np.abs(seen.pixels.astype(int) - expected.pixels).mean() <= 2


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n" * 100, bytes(10_000)])
def test_what_is_no_video_is_reported(tmp_path: Path, store: MemoryStore, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    (problem,) = capture(store, path).problems
    assert str(path) in str(problem)
    assert "no video that OpenCV can read" in str(problem)


def test_an_mp4_that_was_never_finished_says_what_is_missing(tmp_path: Path, store: MemoryStore) -> None:
    video = make_video(tmp_path / "a.mp4", 20, codec="mp4v")
    video.write_bytes(video.read_bytes()[:-1000])
    (problem,) = capture(store, video).problems
    assert "moov atom not found" in str(problem)


def test_a_file_that_is_cut_short_is_captured_as_far_as_it_goes(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(tmp_path / "a.avi", 60)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    summary = capture(store, video)
    assert 20 < summary.captured < 40
    assert [number_in(data) for data in store.in_order()] == list(range(summary.captured))
    (problem,) = summary.problems
    assert "probably cut short" in str(problem)


def test_a_video_whose_codec_cannot_be_decoded_is_an_error_with_its_name(tmp_path: Path, store: MemoryStore) -> None:
    ffmpeg = needs_package("ffmpeg", "/usr/bin/ffmpeg")
    video = tmp_path / "a.mp4"
    encode = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=5", "-t", "1", "-c:v", "libaom-av1", "-cpu-used", "8", video]
    subprocess.run([ffmpeg, "-loglevel", "error", *map(str, encode)], check=True, timeout=60)
    summary = capture(store, video)
    if not summary.captured:  # a build of OpenCV that decodes AV1 is fine, too
        (problem,) = summary.problems
        assert "no frame of it could be decoded (codec av01)" in str(problem)


def test_a_damaged_file_ends_cleanly(tmp_path: Path, store: MemoryStore) -> None:
    video = make_video(tmp_path / "a.avi", 60)
    data = bytearray(video.read_bytes())
    for address in range(6000, len(data) - 3000, 997):
        data[address] ^= 0xFF
    video.write_bytes(data)
    summary = capture(store, video)
    assert summary.captured == len(store.frames) > 0


def test_a_file_cannot_make_the_reader_reach_the_network(tmp_path: Path, store: MemoryStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        playlist = tmp_path / "x.m3u8"
        segment = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n")
        summary = capture(store, playlist, open_timeout_seconds=1.0)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (summary.captured, len(summary.problems)) == (0, 1)


@pytest.mark.parametrize("name", ["list.mp4", "list.ffconcat", "list.m3u8"])
def test_a_file_cannot_make_the_reader_read_other_files(tmp_path: Path, store: MemoryStore, name: str) -> None:
    make_video(tmp_path / "private.avi", 10)
    shutil.copy(tmp_path / "private.avi", tmp_path / "private.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / name).write_text(playlist if name.endswith("m3u8") else "ffconcat version 1.0\nfile private.avi\n")
    summary = capture(store, tmp_path / name)
    (problem,) = summary.problems
    assert summary.captured == 0
    assert "a playlist" in str(problem)


CONTAINERS = (
    "mkv FFV1, webm VP80, mp4 mp4v, mov MJPG, 3gp mp4v, ts MPG1, mpg MPG1, flv FLV1, wmv WMV2, ogv VP80, nut MJPG, "
    "mxf FFV1, y4m I420"
)


@pytest.mark.parametrize("container", CONTAINERS.split(", "))
def test_usual_containers_are_no_playlists(tmp_path: Path, store: MemoryStore, container: str) -> None:
    suffix, codec = container.split()
    video = make_video(tmp_path / f"a.{suffix}", 5, fps=25.0, codec=codec)
    summary = capture(store, video)
    assert summary.problems == ()
    assert summary.captured >= 3, "OpenCV's own writer loses frames of some"


def test_several_cameras_at_once_and_one_of_them_is_broken(tmp_path: Path, store: MemoryStore) -> None:
    videos = [make_video(tmp_path / f"{number}.avi", 10 + number) for number in range(3)]
    (tmp_path / "broken.mp4").write_bytes(b"no")
    summary = capture(store, *videos, tmp_path / "broken.mp4")
    assert [camera.captured for camera in summary.cameras] == [10, 11, 12, 0]
    assert [camera.camera for camera in summary.cameras] == ["0", "camera-1", "camera-2", "camera-3"]
    assert [camera.problem is None for camera in summary.cameras] == [True, True, True, False]


def test_a_missing_source_is_reported_before_anything_starts(tmp_path: Path, store: MemoryStore) -> None:
    video = make_video(tmp_path / "a.avi", 3)
    with pytest.raises(SourceNotFound):
        capture(store, video, tmp_path / "nowhere.mp4")
    assert store.frames == {}


def test_stop_ends_it_and_what_was_taken_is_stored(tmp_path: Path, store: MemoryStore) -> None:
    video = make_video(tmp_path / "a.avi", 500)
    gate, second = threading.Event(), threading.Event()

    def hold_the_second(key: str) -> None:
        if not key.endswith("00000000.jpg"):
            second.set()
            _wait(gate)

    store.before_put = hold_the_second
    with running(capture_config(video, queue=4), store) as run:
        _wait(second)
        run.stop.set()
        gate.set()
        summary = run.ended()
    assert 1 < summary.captured == len(store.frames) < 500
    assert summary.cameras[0].unfinished
    assert [number_in(data) for data in store.in_order()] == list(range(summary.captured))


def _wait(gate: threading.Event) -> None:
    assert gate.wait(30)


def test_stop_before_the_start(tmp_path: Path, store: MemoryStore) -> None:
    stop = threading.Event()
    stop.set()
    summary = run_capture(capture_config(make_video(tmp_path / "a.avi", 3)), store, stop)  # type: ignore[arg-type]
    assert summary.captured == len(store.frames)
    assert readers() == []


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest"])
def test_what_happens_when_the_store_is_slow_is_the_users_choice(
    tmp_path: Path, store: MemoryStore, overflow: str, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(tmp_path / "a.avi", 100)

    def slow(key: str) -> None:
        if overflow == "wait":
            time.sleep(0.002)
        elif key.endswith("00000000.jpg"):
            eventually(lambda: not readers())  # the queue overflows behind the first frame

    store.before_put = slow
    with caplog.at_level(logging.WARNING), running(capture_config(video, queue=5, overflow=overflow), store) as run:
        (camera,) = run.ended().cameras
    numbers = [number_in(data) for data in store.in_order()]
    assert camera.captured + sum(camera.dropped.values()) == 100
    if overflow == "wait":
        assert numbers == list(range(100))
        return
    assert set(camera.dropped) == {overflow}
    assert camera.dropped[overflow] > 0
    assert "frames are dropped" in caplog.text
    if overflow == "drop_oldest":
        assert numbers[-5:] == [95, 96, 97, 98, 99]
    else:
        assert numbers[:5] == [0, 1, 2, 3, 4]  # the next one depends on how soon the writer took the first


def test_captured_at_is_start_plus_position_to_the_microsecond(tmp_path: Path, store: MemoryStore) -> None:
    capture(store, make_video(tmp_path / "a.mp4", 30, fps=29.97, codec="mp4v"), start_time=START_TEXT)
    for name, data in zip(names(store), store.in_order(), strict=True):
        assert name.captured_at == START + timedelta(seconds=read_position(data) or 0.0)


def test_a_file_that_is_stopped_before_its_end_is_not_all_done(clip: Path, tmp_path: Path) -> None:
    with command.start("capture", clip, "--all", cwd=tmp_path) as process:
        eventually(lambda: any((tmp_path / "frames").rglob("*.jpg")))
        process.terminate()
        _, log = process.communicate(timeout=30)
        assert process.returncode == 1, log
    assert "stopped before the end of" in log
    assert command.run("capture", clip, "--all", cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "frames").rglob("*.jpg"))) == 306
