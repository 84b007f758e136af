"""Capture while the store is away: nothing lost, nothing double, all in order, with restarts and kills in between."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from framecap.app import parts
from framecap.capture import daemon as daemon_module
from framecap.capture import overflow as overflow_module
from framecap.capture import writer as writer_module
from framecap.capture.spool import Spool
from framecap.config import CaptureConfig, Config, SpoolConfig
from framecap.errors import StoreUnavailable
from framecap.frames import parse_key
from framecap.runtime.signals import StopFlag
from tests import command
from tests.capture.memory_store import MemoryStore, nothing
from tests.capture.mjpeg_camera import MjpegCamera
from tests.capture.numbered import frame
from tests.capture.running import capture_config, eventually, running
from tests.capture.videos import make_video, number_in


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", (0.01, 0.05))


class Orderly(MemoryStore):
    """Remembers the order in which frames came, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.after_put = self.order.append
        self.refused = threading.Event()

    def go_away(self, *cameras: str) -> None:
        """For these cameras' frames, or for all."""

        def refuse(key: str) -> None:
            if not cameras or key.startswith(cameras):
                self.refused.set()
                raise StoreUnavailable("the store is away")

        self.before_put = refuse

    def come_back(self) -> None:
        self.before_put = nothing


@pytest.fixture
def store() -> Orderly:
    return Orderly()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    camera.close()


def config(spool: Path, *sources: object, max_bytes: int = 1 << 30, **values: object) -> CaptureConfig:
    small = SpoolConfig.model_construct(directory=str(spool), max_bytes=max_bytes)  # smaller than a user may choose
    return capture_config(*sources, spool=small, **values)


def spooled(spool: Path) -> int:
    return len(list(spool.rglob("*.frame")))


def leave_behind(spool: Path, camera: str, count: int) -> None:
    """Frames of an earlier run."""
    spool.mkdir(exist_ok=True)
    with Spool(spool, 1 << 30, drops_oldest=False) as opened:
        part = opened.camera(camera, lambda reason, lost: None)
        assert all(part.put(frame(number, camera)) for number in range(count))


def test_a_live_camera_loses_nothing_and_its_frames_come_in_order_with_their_own_times(
    tmp_path: Path, store: Orderly, camera: MjpegCamera
) -> None:
    spool = tmp_path / "spool"
    with running(config(spool, camera.url()), store) as run:
        store.wait_for(5)
        store.go_away()
        eventually(lambda: spooled(spool) >= 25)
        there = len(store.frames)
        store.come_back()
        store.wait_for(there + 30)
        (summary,) = run.finish().cameras
    assert store.order == sorted(store.frames)
    names = [name for key in store.order if (name := parse_key(key))]
    assert [name.sequence for name in names] == list(range(summary.captured))
    assert (summary.dropped.keys() - {"stale"}, summary.spooled, spooled(spool)) == (set(), 0, 0)
    late = [
        name.captured_at.timestamp() - camera.taken[number_in(store.frames[key])]
        for key, name in zip(store.order, names, strict=True)
    ]
    assert max(map(abs, late)) < 1.0  # the camera's time, not that of the delivery


def test_a_file_is_read_to_its_end_while_the_store_is_away(tmp_path: Path, store: Orderly) -> None:
    spool = tmp_path / "spool"
    store.go_away()
    with running(config(spool, make_video(tmp_path / "a.avi", 60), queue=4), store) as run:
        eventually(lambda: spooled(spool) == 60)
        store.come_back()
        (summary,) = run.ended().cameras
    assert (summary.captured, summary.dropped, summary.spooled, spooled(spool)) == (60, {}, 0, 0)
    assert store.order == sorted(store.frames)
    assert [number_in(data) for data in store.in_order()] == list(range(60))


def test_a_store_that_hangs_is_away_too(tmp_path: Path, store: Orderly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overflow_module, "STUCK_SECONDS", 0.1)
    spool, gate = tmp_path / "spool", threading.Event()
    store.before_put = lambda key: None if gate.wait(30) else pytest.fail("never let through")
    with running(config(spool, make_video(tmp_path / "a.avi", 40), overflow="drop_newest"), store) as run:
        eventually(lambda: spooled(spool) >= 30)
        gate.set()
        (summary,) = run.ended().cameras
    assert (summary.captured, summary.dropped, spooled(spool)) == (40, {}, 0)
    assert store.order == sorted(store.frames)


def test_one_cameras_outage_is_not_anothers(tmp_path: Path, store: Orderly) -> None:
    spool = tmp_path / "spool"
    store.go_away("a/")
    videos = [make_video(tmp_path / f"{name}.avi", 20) for name in "ab"]
    with running(config(spool, *videos), store) as run:
        store.wait_for(20)
        assert {key[:8] for key in store.frames} == {"camera-1"}
        eventually(lambda: spooled(spool) == 20)
        store.come_back()
        assert run.ended().captured == 40


def test_what_an_earlier_run_left_comes_first_also_of_cameras_that_are_not_configured_any_more(
    tmp_path: Path, store: Orderly
) -> None:
    spool = tmp_path / "spool"
    leave_behind(spool, "a", 30)
    leave_behind(spool, "gone", 10)
    summary = running_to_the_end(config(spool, make_video(tmp_path / "a.avi", 5)), store)
    assert [(each.camera, each.captured) for each in summary.cameras] == [("a", 35), ("gone", 10)]
    of_a = [key for key in store.order if key.startswith("a/")]
    assert [parse_key(key).sequence for key in of_a] == [*range(30), *range(5)]  # type: ignore[union-attr]
    assert spooled(spool) == 0


def running_to_the_end(capture: CaptureConfig, store: MemoryStore) -> daemon_module.CaptureSummary:
    with running(capture, store) as run:
        return run.ended()


def test_reported_to_stop_while_the_store_is_away_all_goes_to_the_spool(tmp_path: Path, store: Orderly) -> None:
    spool, video = tmp_path / "spool", make_video(tmp_path / "a.avi", 500)
    held = threading.Event()

    def hold(key: str) -> None:
        held.set()
        raise StoreUnavailable("away")

    store.before_put = hold
    with running(config(spool, video), store) as run:
        assert held.wait(30)
        eventually(lambda: spooled(spool) > 20)
        summary = run.finish()
    assert (summary.captured, summary.dropped) == (0, 0)
    assert summary.spooled == spooled(spool) > 20
    store.come_back()
    other = running_to_the_end(config(spool, make_video(tmp_path / "b.avi", 1)), store)
    assert other.captured == summary.spooled + 1
    frames = [store.frames[key] for key in store.order if key.startswith("a/")]
    assert [number_in(data) for data in frames] == list(range(summary.spooled))


def test_at_the_end_of_a_file_a_store_that_stays_away_leaves_the_frames_in_the_spool(
    tmp_path: Path, store: Orderly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer_module, "END_GRACE_SECONDS", 0.2)
    spool, video = tmp_path / "spool", make_video(tmp_path / "a.avi", 10)
    store.go_away()
    summary = running_to_the_end(config(spool, video), store)
    assert (summary.captured, summary.dropped, summary.spooled, spooled(spool)) == (0, 0, 10, 10)
    assert "10 frames wait in the spool" in caplog.text
    again = running_to_the_end(config(spool, video), store)
    assert (again.already_there, again.spooled, spooled(spool)) == (10, 10, 10), "the same frames are not spooled again"
    store.come_back()
    last = running_to_the_end(config(spool, video), store)
    assert (last.captured + last.already_there, last.captured, last.spooled) == (20, 10, 0)


@pytest.mark.parametrize(("stop_requested", "exit_code"), [(False, 1), (True, 0)])
def test_frames_that_are_left_in_the_spool_are_an_error_only_of_a_run_that_was_to_store_them(
    tmp_path: Path, store: Orderly, monkeypatch: pytest.MonkeyPatch, stop_requested: bool, exit_code: int
) -> None:
    monkeypatch.setattr(writer_module, "END_GRACE_SECONDS", 0.2)
    monkeypatch.setattr("framecap.stores.open_store", lambda config, **options: store)
    store.go_away()
    leave_behind(tmp_path / "spool", "gone", 3)
    camera = str(make_video(tmp_path / "a.avi", 2)) if not stop_requested else "http://127.0.0.1:9/nobody"
    stop = StopFlag()
    if stop_requested:
        stop.set()
    captured = parts.capture(Config(capture=config(tmp_path / "spool", camera)), stop)
    assert captured.spooled == (3 if stop_requested else 5)
    assert parts.exit_code(captured, None) == exit_code
    assert parts.summary(Config(), captured, None, None).spooled == captured.spooled


def test_at_the_end_of_a_file_a_store_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, store: Orderly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "END_GRACE_SECONDS", 0.3)
    spool, gate = tmp_path / "spool", threading.Event()
    store.before_put = lambda key: None if gate.wait(30) else pytest.fail("never let through")
    summary = running_to_the_end(config(spool, make_video(tmp_path / "a.avi", 10)), store)
    assert (summary.spooled, spooled(spool)) == (10, 10)
    gate.set()


def test_a_backlog_does_not_hold_up_a_stop(tmp_path: Path, store: Orderly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GRACE_SECONDS", 0.0)
    spool, second = tmp_path / "spool", threading.Event()
    leave_behind(spool, "a", 50)

    def slow(key: str) -> None:
        if len(store.order) == 2:
            second.set()
            time.sleep(0.1)

    store.before_put = slow
    with running(config(spool, make_video(tmp_path / "a.avi", 500)), store) as run:
        assert second.wait(30)
        summary = run.finish()
    assert summary.spooled == spooled(spool) > 30
    assert not summary.dropped


@pytest.mark.parametrize("policy", ["wait", "drop_oldest", "drop_newest"])
def test_a_full_spool_leaves_it_to_the_users_choice(tmp_path: Path, store: Orderly, policy: str) -> None:
    spool, video = tmp_path / "spool", make_video(tmp_path / "a.avi", 100)
    store.go_away()
    with running(config(spool, video, max_bytes=40_000, queue=4, overflow=policy), store) as run:
        eventually(lambda: spooled(spool) > 20)
        if policy == "wait":
            assert store.refused.wait(30)
        else:
            eventually(lambda: all(thread.name != "camera a" for thread in threading.enumerate()))  # it is read
        assert sum(path.stat().st_size for path in spool.rglob("*.frame")) <= 40_000
        store.come_back()
        (summary,) = run.ended().cameras
    numbers = [number_in(store.frames[key]) for key in store.order]
    assert numbers == sorted(numbers)
    assert summary.captured + sum(summary.dropped.values()) == 100
    assert summary.dropped.keys() <= {policy}
    expected = {"wait": summary.captured == 100, "drop_oldest": numbers[-1] == 99, "drop_newest": numbers[0] == 0}
    assert expected[policy]
    if policy != "wait":
        assert summary.dropped[policy] > 10


def test_a_frame_that_was_stored_when_the_answer_was_lost_is_stored_once(tmp_path: Path, store: Orderly) -> None:
    spool = tmp_path / "spool"
    leave_behind(spool, "cam", 3)
    video = make_video(tmp_path / "a.avi", 1)
    running_to_the_end(config(spool, video), store)
    before = dict(store.frames)
    leave_behind(spool, "cam", 3)  # as if capture had died between storing and removing them
    summary = running_to_the_end(config(spool, video), store)
    assert store.frames == before
    assert (len(before), summary.dropped, spooled(spool)) == (4, 0, 0)


def test_a_live_frame_whose_key_is_taken_is_stored_once_however_often_it_is_delivered(
    tmp_path: Path, store: Orderly
) -> None:
    spool = tmp_path / "spool"
    for _ in range(3):
        leave_behind(spool, "cam", 1)
        if not store.frames:
            store.frames["cam/2026/11/22/12/cam-20261122T120000.000000Z-00000000.jpg"] = b"another moment"
        running_to_the_end(config(spool, make_video(tmp_path / "a.avi", 1)), store)
    assert sorted(key[-12:] for key in store.frames if key.startswith("cam/")) == ["00000000.jpg", "00000001.jpg"]


@contextmanager
def capturing(tmp_path: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """`framecap capture` of a live camera with a spool; killed at the end if it still runs."""
    spool = f"capture.spool.directory={tmp_path / 'spool'}"
    with command.start("capture", url, "--camera", "door", "--all", "--set", spool, cwd=tmp_path) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def stored(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "frames").rglob("*.jpg"))


def test_a_capture_that_is_killed_while_the_store_is_away_and_started_again(
    tmp_path: Path, camera: MjpegCamera, full: bool, figure: Callable[[str], None]
) -> None:
    """The store's directory is moved away and back; capture is killed with -9 in between."""
    kills = 10 if full else 2
    frames, elsewhere = tmp_path / "frames", tmp_path / "elsewhere"
    seen: list[Path] = []
    for _ in range(kills):
        with capturing(tmp_path, camera.url()) as process:
            eventually(lambda seen=seen: len(stored(tmp_path)) >= len(seen) + 3)
            frames.rename(elsewhere)
            count = spooled(tmp_path / "spool")
            eventually(lambda count=count: spooled(tmp_path / "spool") >= count + 10)
            process.send_signal(signal.SIGKILL)
            process.wait()
        elsewhere.rename(frames)
        seen = stored(tmp_path)
    waiting = spooled(tmp_path / "spool")
    with capturing(tmp_path, camera.url()) as process:
        eventually(lambda: spooled(tmp_path / "spool") == 0 and len(stored(tmp_path)) > len(seen) + waiting)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    end = json.loads(log.splitlines()[-1])
    assert end["captured"] >= waiting
    shown = [number_in(path.read_bytes()) for path in stored(tmp_path)]
    assert shown == sorted(shown), "in the order of their times they show what the camera took"
    assert len(shown) == len(set(shown)), "and nothing twice"
    figure(f"{kills} kills while the store was away: {len(shown)} frames, in order, none twice")
