"""The capture daemon: a configuration and a store in, frames in the store and a summary out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from framecap.capture.camera import Camera
from framecap.capture.overflow import FrameQueue
from framecap.capture.plan import CapturePlan, make_plans
from framecap.capture.spool import Spool, open_spool
from framecap.capture.stats import CameraSummary, CaptureStats
from framecap.capture.writer import END_GRACE_SECONDS, GRACE_SECONDS, FrameWriter
from framecap.config import CaptureConfig
from framecap.errors import FramecapError
from framecap.runtime.stop import WaitableStop
from framecap.stores.base import Store
from framecap.telemetry import Heartbeat, health, mask

_HANGS_SECONDS = 30.0  # for a loop that turns several times a second
STOP_LATENCY_SECONDS = 0.25  # any object with is_set and wait may be the stop: it cannot wake us, we look

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """A capture run: one summary per camera, in the order of the configuration; then those that only the spool knew."""

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
    def spooled(self) -> int:
        """Frames that wait in the spool for the next run."""
        return sum(camera.spooled for camera in self.cameras)

    @property
    def reconnects(self) -> int:
        return sum(camera.reconnects for camera in self.cameras)

    @property
    def problems(self) -> tuple[FramecapError, ...]:
        return tuple(camera.problem for camera in self.cameras if camera.problem is not None)


class _Run:
    """What all cameras of a run share. `halt`: it is told to stop; `ended`: all sources have ended."""

    def __init__(
        self, config: CaptureConfig, store: Store, spool: Spool | None, on_frame: Callable[[str], None] | None
    ) -> None:
        self.config = config
        self.store = store
        self.spool = spool
        self.on_frame = on_frame
        self.halt = threading.Event()
        self.ended = threading.Event()


class _Line:
    """One camera's supervisor, queue and writer, in two threads; without a plan, the frames of it that are in the spool."""

    def __init__(self, run: _Run, name: str, plan: CapturePlan | None) -> None:
        self._run = run
        self.stats = CaptureStats(name, plan.source.shown if plan else "the spool")
        part = run.spool.camera(name, self.stats.drop) if run.spool else None
        self._queue = FrameQueue(run.config.queue, run.config.overflow, self.stats.drop, part)
        self._writer = FrameWriter(self._queue, run.store, self.stats, run.halt, run.ended, run.on_frame)
        self._writing = threading.Thread(target=self._writer.run, name=f"writer {name}", daemon=True)
        self._camera = Camera(plan, run.config, self._queue, self.stats, run.halt) if plan else None
        self._reading = (
            threading.Thread(target=self._camera.run, name=f"camera {name}", daemon=True) if self._camera else None
        )

    def start(self) -> None:
        self._writing.start()
        if self._reading is None:
            self._queue.close()
        else:
            self._reading.start()

    def not_alive(self) -> str | None:
        """A defect has ended the supervision of the source, or the writer."""
        if self._run.halt.is_set() or self._camera is None or self._reading is None:
            return None
        if self._camera.broken:
            return f"camera {self.stats.camera}: nothing reads it any more"
        if not self._reading.is_alive() or self._writing.is_alive():
            return None
        return f"camera {self.stats.camera}: nothing stores its frames any more"

    def not_ready(self) -> str | None:
        return self._writer.problem() if self._writing.is_alive() else None

    def stop(self) -> None:
        if self._camera is not None:
            self._camera.stop()

    def wait_for_source(self) -> None:
        if self._reading is not None and self._reading.ident is not None:
            self._reading.join()

    def finish(self) -> None:
        """After the source's end: until everything is stored, or left in the spool; for ever where there is none."""
        while self._writing.ident is not None and self._writing.is_alive():
            self._writing.join(STOP_LATENCY_SECONDS if self._queue.durable else None)
            grace = GRACE_SECONDS if self._run.halt.is_set() else END_GRACE_SECONDS
            if self._queue.durable and self._queue.stuck_seconds() > grace:  # a mount can hang for ever
                break
        waiting, lost = self._queue.leave()
        self.stats.spooled(waiting)
        if lost:
            self.stats.drop("store_unavailable", lost)


def run_capture(
    config: CaptureConfig, store: Store, stop: WaitableStop, on_frame: Callable[[str], None] | None = None
) -> CaptureSummary:
    """Capture all cameras until every source has ended, or `stop` is set; frames that were taken are stored first.

    With a spool, what cannot be stored stays there, and what an earlier run has left there is stored first. `on_frame` is
    called with the key of each frame that is newly stored, from several threads. Raises SourceNotFound and ConfigError
    before anything starts; what goes wrong later is in the summary and the log.
    """
    plans = make_plans(config)
    with open_spool(config.spool, config.overflow == "drop_oldest", store.directory) or nullcontext() as spool:
        summary = _capture(plans, _Run(config, store, spool, on_frame), stop)
        if spool is not None and summary.spooled:
            logger.warning(
                "%d frames wait in the spool %s: the next framecap capture that has it delivers them first",
                summary.spooled,
                mask(str(spool.root)),
            )
    return summary


def _capture(plans: tuple[CapturePlan, ...], run: _Run, stop: WaitableStop) -> CaptureSummary:
    lines = [_Line(run, plan.name, plan) for plan in plans]
    if run.spool is not None:
        lines += _left_over(run, {plan.name for plan in plans})
    over = threading.Event()
    heartbeat = Heartbeat("capture", _HANGS_SECONDS)
    watcher = threading.Thread(target=_watch, args=(stop, over, run, lines, heartbeat), name="capture stop", daemon=True)
    alive, ready = [heartbeat.problem, *(line.not_alive for line in lines)], [line.not_ready for line in lines]
    try:
        with health.watching(alive, ready):
            _run_lines(plans, run, lines, watcher)
    finally:
        over.set()
    return CaptureSummary(tuple(line.stats.summary() for line in lines))


def _run_lines(plans: tuple[CapturePlan, ...], run: _Run, lines: list[_Line], watcher: threading.Thread) -> None:
    try:
        for plan in plans:
            logger.info("camera %s: reading %s into %s", plan.name, plan.source.shown, run.store.address)
        for line in lines:
            line.start()
        watcher.start()
        for line in lines:
            line.wait_for_source()
    except BaseException:
        _halt(run, lines)
        raise
    finally:
        for line in lines:
            line.wait_for_source()
        run.ended.set()
        for line in lines:
            line.finish()


def _left_over(run: _Run, configured: set[str]) -> list[_Line]:
    """An earlier run's frames: those of cameras that are read now go first there, the others have lines of their own."""
    assert run.spool is not None
    left = run.spool.left()
    if left:
        logger.info("the spool holds frames of an earlier run (%s): they are delivered first", ", ".join(left))
    return [_Line(run, name, None) for name in left if name not in configured]


def _watch(stop: WaitableStop, over: threading.Event, run: _Run, lines: list[_Line], heartbeat: Heartbeat) -> None:
    while not over.is_set():
        heartbeat.beat()
        if stop.wait(STOP_LATENCY_SECONDS):
            heartbeat.rest()
            _halt(run, lines)
            return


def _halt(run: _Run, lines: list[_Line]) -> None:
    run.halt.set()
    for line in lines:
        line.stop()
