"""The packages put together: a configuration in; capture or work running on its store, and what came of it, out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framecap.app.console import RunSummary
from framecap.captioning.caption import Caption, Captioner, close_captioner
from framecap.captioning.lanes import in_every_lane
from framecap.config import (
    CaptioningConfig,
    Config,
    NearDuplicatesConfig,
    SteadyCaptionsConfig,
    StoreConfig,
    TelemetryConfig,
)
from framecap.errors import CaptionerDenied, ConfigError, FramecapError, RequestRefused
from framecap.frames import sidecar_key
from framecap.ingest.base import Backlog, Ingest
from framecap.runtime.stop import StopRequest
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.telemetry import mask
from framecap.worker.reload import Reload

if TYPE_CHECKING:
    from framecap.telemetry.server import TelemetrySource

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1  # how soon capture sees that it is to stop


@dataclass(frozen=True, slots=True)
class CaptureOutcome:
    """What came of capture: frames newly stored, stored before, dropped, left in the spool; whether a recording was left
    before its end; the exit codes of what was wrong."""

    captured: int
    already_there: int
    dropped: int
    spooled: int
    unfinished: bool
    problems: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkOutcome:
    """What came of work: sidecars committed, by status; frames left for the next run; seconds."""

    captioned: int
    duplicate: int
    skipped: int
    failed: int
    pending: int
    seconds: float

    @property
    def committed(self) -> int:
        return self.captioned + self.duplicate + self.skipped + self.failed


def check_sources(config: Config) -> None:
    """Raises SourceNotFound and ConfigError for cameras that cannot be captured; nothing is opened."""
    from framecap.capture.plan import make_plans

    make_plans(config.capture)


def capture(config: Config, stop: StopRequest, on_frame: Callable[[str], None] | None = None) -> CaptureOutcome:
    """Capture until every source has ended or `stop` is set; `on_frame` gets the key of each new frame."""
    from framecap.capture.daemon import run_capture
    from framecap.stores import open_store

    done = run_capture(config.capture, open_store(config.store, lenient=True), PollingStop(stop), on_frame)
    problems = tuple(problem.exit_code for problem in done.problems)
    if any(camera.lost for camera in done.cameras) or (done.spooled and not stop.is_set()):
        problems += (FramecapError.exit_code,)
    unfinished = any(camera.unfinished for camera in done.cameras)
    return CaptureOutcome(done.captured, done.already_there, done.dropped, done.spooled, unfinished, problems)


class PollingStop:
    """A flag with the `wait` that capture and followers ask for."""

    def __init__(self, flag: StopRequest) -> None:
        self._flag = flag

    def is_set(self) -> bool:
        return self._flag.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._flag.is_set() and (end is None or time.monotonic() < end):
            time.sleep(_POLL_SECONDS)
        return self._flag.is_set()


def existing_store(config: StoreConfig) -> Store:
    """The store of who looks after one: a directory that is not there is a mistake, not a new store. Raises ConfigError."""
    from framecap.stores import open_store

    if "://" not in config.frames and not Path(config.frames).expanduser().is_dir():
        raise ConfigError(f"--frames: {mask(config.frames)!r}: no such directory: give the place that holds the frames")
    return open_store(config)


def served(config: TelemetryConfig, seen: TelemetrySource | None = None) -> AbstractContextManager[object]:
    """Within, metrics and health of `seen` (this process) are served where the configuration says so."""
    from framecap.telemetry.server import ThisProcess, serving

    return nullcontext() if config.port is None else serving(config.host, config.port, seen or ThisProcess())


class WorkerApp:
    """A store, its ingest and a captioner, ready to run."""

    def __init__(
        self, config: Config, store: Store, ingest: Ingest, captioner: Captioner, reload: Reload | None = None
    ) -> None:
        from framecap.runtime.malloc_arenas import share_malloc_arenas

        share_malloc_arenas()
        self._config = config.worker
        self._store = store
        self._captioner = captioner
        self._reload = reload
        _warm(captioner, config.worker.filled_in(captioner.batch_size, captioner.lanes).batch_size)
        self._ingest = ingest
        self.address = self._store.address
        self.model = self._captioner.model

    def backlog(self) -> Backlog:
        return self._ingest.backlog()

    def run(self, stop: StopRequest, finish: StopRequest, on_commit: Callable[[Sidecar], None]) -> WorkOutcome:
        """Caption until `stop` (drains) or `finish` and nothing is pending."""
        from framecap.worker.run import run_worker

        self._ingest.start()
        try:
            done = run_worker(
                self._config, self._store, self._ingest, self._captioner, stop, finish, on_commit, self._reload
            )
            pending = self._ingest.backlog().pending
        finally:
            self._ingest.close()
        return WorkOutcome(done.captioned, done.duplicate, done.skipped, done.failed, pending, done.seconds)


def open_work(config: Config, reload: Reload | None = None, new_store: int = logging.INFO) -> WorkerApp:
    """Work on everything that is pending, as the configuration says; `new_store`: the level at which a new store is said."""
    from framecap.captioning.load import load_captioner
    from framecap.ingest import open_ingest
    from framecap.stores import open_store

    captioner = load_captioner(config.captioning)  # first: without a model no store is made
    store = open_store(config.store, new_store=new_store)
    worker = config.worker.filled_in(captioner.batch_size, captioner.lanes)
    config = config.model_copy(update={"worker": worker})
    ingest = open_ingest(config.ingest, store, config.store, worker.queue)
    return WorkerApp(_fit_for_a_queue(config) if config.ingest.queue else config, store, ingest, captioner, reload)


def load_another(config: CaptioningConfig) -> Captioner:
    """A captioner in the place of one that works. Raises FramecapErrors, also where it loads and cannot caption."""
    from framecap.captioning.load import load_captioner

    captioner = load_captioner(config)
    answer = _first_answer(captioner)
    if isinstance(answer, Exception):
        close_captioner(captioner)
        raise answer
    return captioner


def _fit_for_a_queue(config: Config) -> Config:
    off = {"near_duplicates": NearDuplicatesConfig(), "steady_captions": SteadyCaptionsConfig()}
    for name in off:
        if getattr(config.worker, name).enabled:
            logger.warning("worker.%s is off: a queue brings no camera's frames in order, so there is no judging them", name)
    return config.model_copy(update={"worker": config.worker.model_copy(update=off)})


def _warm(captioner: Captioner, batch_size: int) -> None:
    """A first image, and a lane's first batch of each size, take longest: no frame should wait for that.

    Raises the error of who would caption none. A model that refuses a grey image may like the frames.
    """
    answer = _first_answer(captioner)
    for frames in (batch_size, 1) if captioner.lanes > 1 else ():
        if not isinstance(answer, Exception):
            answers = in_every_lane(captioner.lanes, partial(_first_answer, captioner, frames))
            answer = next((one for one in answers if isinstance(one, Exception)), answer)
    if isinstance(answer, CaptionerDenied | RequestRefused):  # whatever the image: every frame would fail
        raise answer
    if isinstance(answer, Exception):
        logger.warning("the model does not caption a grey image: %s", answer)


def _first_answer(captioner: Captioner, frames: int = 1) -> Caption | Exception:
    """What it says of a grey image, of which it gets so many at once."""
    size = captioner.image_size
    try:
        return captioner.caption(np.full((frames, size, size, 3), 127, np.uint8))[0]
    except FramecapError as error:  # a device that is full, or whatever else the worker has patience with
        return error


def sidecar_address(config: StoreConfig, frame_key: str) -> str:
    """Where a user finds the sidecar of a frame."""
    return os.path.join(config.sidecars or config.frames, sidecar_key(frame_key))  # noqa: PTH118 - s3:// must keep both slashes


def frame_address(config: StoreConfig, frame_key: str) -> str:
    """Where a user finds a frame."""
    return os.path.join(config.frames, frame_key)  # noqa: PTH118 - s3:// must keep both slashes


def summary(config: Config, captured: CaptureOutcome | None, worked: WorkOutcome | None, example: str | None) -> RunSummary:
    """A run in numbers; `example` is the key of a frame that was committed."""
    return RunSummary(
        captured=captured.captured if captured else None,
        already_there=captured.already_there if captured else None,
        dropped=captured.dropped if captured else None,
        spooled=captured.spooled or None if captured else None,
        captioned=worked.captioned if worked else None,
        duplicate=worked.duplicate if worked else None,
        skipped=worked.skipped if worked else None,
        failed=worked.failed if worked else None,
        pending=worked.pending if worked else None,
        seconds=round(worked.seconds, 3) if worked else None,
        frames_per_second=round(worked.committed / worked.seconds, 2) if worked and worked.seconds else None,
        frames=config.store.frames,
        sidecars=sidecar_address(config.store, example) if example else None,
    )


def exit_code(captured: CaptureOutcome | None, worked: WorkOutcome | None) -> int:
    """0, or that of the most telling thing that went wrong."""
    if captured and captured.problems:
        return captured.problems[0]
    return 1 if worked and worked.failed else 0
