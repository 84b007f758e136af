"""Latencies: frames come by the clock, what is measured is how long their sidecars take, and a lost frame is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from framecap.bench import arrivals
from framecap.bench.arrivals import latencies
from framecap.bench.children import MeasurementFailed
from tests.tiny import draw_image

DELAY = 0.05  # seconds


@contextmanager
def slow_worker(folder: Path, status: str = "captioned") -> Iterator[None]:
    """Writes each frame's sidecar DELAY after it has seen the frame."""
    over = threading.Event()

    def work() -> None:
        seen: dict[Path, float] = {}
        while not over.wait(0.001):
            for frame in folder.rglob("*.jpg"):
                seen.setdefault(frame, time.monotonic())
            for frame in [frame for frame, since in seen.items() if time.monotonic() - since >= DELAY]:
                sidecar = frame.with_name(f"{frame.name}.json")
                if not sidecar.exists():
                    temporary = sidecar.with_suffix(".tmp")
                    temporary.write_text(f'{{"status": "{status}", "frame": {{}}}}')
                    temporary.rename(sidecar)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "place" / "camera").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "one.jpg"), draw_image("red", "ball"))
    return tmp_path / "place"


def test_a_frame_takes_as_long_as_its_worker(folder: Path, tmp_path: Path) -> None:
    with slow_worker(folder):
        started = time.monotonic()
        seconds = latencies(folder, [tmp_path / "one.jpg"], rate=40, count=20)
    assert len(seconds) == 20
    assert min(seconds) >= DELAY - 0.005
    assert time.monotonic() - started >= 19 / 40  # they came by the clock
    assert len(list(folder.rglob("*.jpg"))) == 20


def test_a_frame_without_a_sidecar_is_reported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_LOST_SECONDS", 0.1)
    with pytest.raises(MeasurementFailed, match="2 of 2 frames at 100 a second got no sidecar"):
        latencies(folder, [tmp_path / "one.jpg"], rate=100, count=2)


def test_a_frame_that_failed_is_no_latency(folder: Path, tmp_path: Path) -> None:
    with slow_worker(folder, "failed"), pytest.raises(MeasurementFailed, match="failed"):
        latencies(folder, [tmp_path / "one.jpg"], rate=100, count=2)
