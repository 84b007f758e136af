"""The capture daemon: a configuration and a store in, frames in the store and a summary out."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from framecap.capture.camera import Camera
from framecap.capture.overflow import BoundedQueue
from framecap.capture.plan import Plan, make_plans
from framecap.capture.tally import CameraSummary, Tally
from framecap.capture.writer import CapturedFrame, FrameWriter
from framecap.config import CaptureConfig
from framecap.errors import FramecapError
from framecap.stores.base import Store

STOP_LATENCY_SECONDS = 0.25  # any object with is_set and wait may be the stop: it cannot wake us, we look

log = logging.getLogger(__name__)


class Stop(Protocol):
    """What tells capture to stop, such as a threading.Event."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """A capture run: one summary per camera, in the order of the configuration."""

    cameras: tuple[CameraSummary, ...]

    @property
    def captured(self) -> int:
        return sum(camera.captured for camera in self.cameras)

    @property
    def already_there(self) -> int:
        return sum(camera.already_there for camera in self.cameras)

    @property
    def dropped(self) -> int:
        return sum(sum(camera.dropped.values()) for camera in self.cameras)

    @property
    def reconnects(self) -> int:
        return sum(camera.reconnects for camera in self.cameras)

    @property
    def problems(self) -> tuple[FramecapError, ...]:
        return tuple(camera.problem for camera in self.cameras if camera.problem is not None)


class _Line:
    """One camera's supervisor, queue and writer, in two threads."""

    def __init__(
        self, plan: Plan, config: CaptureConfig, store: Store, halt: threading.Event, on_frame: Callable[[str], None] | None
    ) -> None:
        self.tally = Tally(plan.name, plan.source.shown)
        queue: BoundedQueue[CapturedFrame] = BoundedQueue(config.queue, config.overflow)
        numbers = itertools.count()
        self._camera = Camera(plan, config, queue, self.tally, numbers, halt)
        writer = FrameWriter(queue, store, self.tally, numbers, halt, on_frame)
        self._threads = (
            threading.Thread(target=self._camera.run, name=f"camera {plan.name}", daemon=True),
            threading.Thread(target=writer.run, name=f"writer {plan.name}", daemon=True),
        )

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._camera.stop()

    def join(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()


def run_capture(
    config: CaptureConfig, store: Store, stop: Stop, on_frame: Callable[[str], None] | None = None
) -> CaptureSummary:
    """Capture all cameras until every source has ended, or `stop` is set; frames that were taken are stored first.

    `on_frame` is called with the key of each frame that is newly stored, from several threads. Raises SourceNotFound and
    ConfigError before anything starts; what goes wrong later is in the summary and the log.
    """
    plans = make_plans(config)
    halt = threading.Event()
    lines = [_Line(plan, config, store, halt, on_frame) for plan in plans]
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(stop, over, halt, lines), name="capture stop", daemon=True)
    try:
        for plan, line in zip(plans, lines, strict=True):
            log.info("camera %s: reading %s into %s", plan.name, plan.source.shown, store.address)
            line.start()
        watcher.start()
        for line in lines:
            line.join()
    except BaseException:
        _halt(halt, lines)
        raise
    finally:
        over.set()
        for line in lines:
            line.join()
    return CaptureSummary(tuple(line.tally.summary() for line in lines))


def _watch(stop: Stop, over: threading.Event, halt: threading.Event, lines: list[_Line]) -> None:
    while not over.is_set():
        if stop.wait(STOP_LATENCY_SECONDS):
            _halt(halt, lines)
            return


def _halt(halt: threading.Event, lines: list[_Line]) -> None:
    halt.set()
    for line in lines:
        line.stop()
