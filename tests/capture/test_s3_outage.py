"""The S3 server is away in the middle of a run of capture and worker: nothing lost, nothing double, all in order."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from framecap.capture.spool import Spool
from framecap.config import SpoolConfig
from framecap.frames import parse_key
from framecap.sidecars import sidecar
from framecap.stores import open_store
from tests import command
from tests.capture.mjpeg_camera import MjpegCamera
from tests.capture.numbered import frame
from tests.capture.running import capture_config, eventually, running
from tests.capture.videos import make_video, number_in
from tests.proxy import Fault, Proxy
from tests.s3 import Bucket

DEADLINE_SECONDS = 120.0  # seconds


@contextmanager
def framecap(*arguments: str, cwd: Path, **settings: str) -> Iterator[None]:
    """A command that is ended by SIGTERM, in good order. Its output goes to a file: nobody reads a pipe meanwhile."""
    log = cwd / f"{arguments[0]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command.COMMAND, *arguments], cwd=cwd, env=command.environment(**settings), stdout=output, stderr=output
        )
        try:
            yield
            process.terminate()
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def frames_and_sidecars(bucket: Bucket) -> tuple[list[str], list[str]]:
    paths = [path.removeprefix("cams/") for path in bucket.paths()]
    frames = [path for path in paths if path.endswith(".jpg")]
    return frames, [path for path in paths if path.endswith(".json")]


def soon(condition: Callable[[], bool], timeout: float = DEADLINE_SECONDS) -> None:
    """As `eventually`, with a rest between two looks: they and the proxy are at work in one process."""

    def rested() -> bool:
        time.sleep(0.5)
        return condition()

    eventually(rested, timeout)


class Outage:
    """The server behind the proxy is killed; in the small size, as its new start takes too long, the proxy refuses."""

    def __init__(self, proxy: Proxy, bucket: Bucket, real: bool) -> None:
        self._proxy = proxy
        self._process = bucket.server.process if real else None

    def begin(self) -> None:
        if self._process is None:
            self._proxy.decide = lambda request: Fault.RESET
        else:
            self._process.kill()

    def end(self) -> None:
        if self._process is not None:
            self._process.start()
        self._proxy.decide = lambda request: Fault.NONE


@pytest.mark.faults(18)
@pytest.mark.long(3)
def test_the_server_is_away_for_a_while(
    tmp_path: Path, bucket: Bucket, proxied: Proxy, full: bool, figure: Callable[[str], None]
) -> None:
    seconds, rate = (120.0, 5) if full else (3.0, 10)  # frames a second; a busy machine stores some ten
    outage = Outage(proxied, bucket, real=full)
    camera, port, spool = MjpegCamera(), free_port(), tmp_path / "spool"
    address = f"{bucket.address}cams"
    settings = bucket.settings(proxied.url)
    capture = ("capture", camera.url(), "--camera", "door", "--fps", str(rate), "--set", f"capture.spool.directory={spool}")
    work = ("work", "--runtime", "null", "--metrics-port", str(port))
    try:
        with framecap(*work, "--frames", address, cwd=tmp_path, **settings):
            with framecap(*capture, "--frames", address, cwd=tmp_path, **settings):
                soon(lambda: ready(port) and len(frames_and_sidecars(bucket)[1]) > 5)
                outage.begin()
                gone = time.monotonic()
                soon(
                    lambda: not ready(port) and len(list(spool.rglob("*.frame"))) > 0.7 * rate * seconds,
                    DEADLINE_SECONDS + seconds,
                )
                time.sleep(max(0.0, gone + seconds - time.monotonic()))
                outage.end()
                back = time.monotonic()
                soon(lambda: not list(spool.rglob("*.frame")), DEADLINE_SECONDS + seconds)
                drained = time.monotonic() - back
                soon(lambda: ready(port))
            soon(lambda: len({*map(len, frames_and_sidecars(bucket))}) == 1)
    finally:
        camera.close()
    frames, sidecars = frames_and_sidecars(bucket)
    assert sidecars == [f"{key}.json" for key in frames]
    names = [name for key in frames if (name := parse_key(key))]
    assert [name.sequence for name in names] == list(range(len(frames))), "nothing is lost, nothing is double"
    for key in frames:
        assert sidecar.decode(bucket.get(f"cams/{key}.json")).status == "captioned"
    shown = [number_in(bucket.get(f"cams/{key}")) for key in frames]
    assert shown == sorted(set(shown)), "each has its own time"
    puts = [request.path for request in proxied.requests if request.method == "PUT" and request.path.endswith(".jpg")]
    assert all(before <= after for before, after in pairwise(puts)), "and they came in order"
    figure(f"S3 away for {seconds:.0f} s: {len(frames)} frames, all captioned, drained {drained:.1f} s after its return")


def test_capture_that_may_only_put_frames_is_not_held_up_by_one_that_it_has_put_before(
    tmp_path: Path, bucket: Bucket, proxied: Proxy
) -> None:
    """The least that capture needs, as deploy/aws gives it: after a lost answer, too, or a kill at the wrong moment."""
    proxied.decide = lambda request: Fault.NONE if request.method == "PUT" else Fault.DENIED
    store = open_store(bucket.config("cams", url=proxied.url, attempts=2), lenient=True)
    frames = [frame(number) for number in range(3)]
    for _ in range(2):
        (tmp_path / "spool").mkdir(exist_ok=True)
        with Spool(tmp_path / "spool", 1 << 20, drops_oldest=False) as spool:
            part = spool.camera("cam", lambda reason, count: None)
            assert all(part.put(each) for each in frames)
        camera = capture_config(make_video(tmp_path / "a.avi", 1), spool=SpoolConfig(directory=str(tmp_path / "spool")))
        with running(camera, store) as run:
            summary = run.ended()
        assert (summary.spooled, summary.dropped) == (0, 0)
    assert [bucket.get(f"cams/{path}") for path in frames_and_sidecars(bucket)[0] if path.startswith("cam/")] == [
        each.data for each in frames
    ]
