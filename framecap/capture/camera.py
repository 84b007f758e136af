"""One camera from its first reader process to its last: a plan in, named frames into the queue, what went wrong told out."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta

from framecap.capture.captured import CapturedFrame
from framecap.capture.frozen import FrozenWatch
from framecap.capture.overflow import FrameQueue
from framecap.capture.plan import CapturePlan
from framecap.capture.process import ReaderGone, ReaderNotStarted, ReaderProcess, ReaderStart
from framecap.capture.protocol import Dropped, Ended, GrabbedImage, LogNote, Opened, Ready, Request
from framecap.capture.source import SourceKind
from framecap.capture.stats import CaptureStats
from framecap.config import CaptureConfig
from framecap.errors import SourceError, SourceRefused, SourceStalled, SourceUnreachable
from framecap.frames import FrameName, embed_position
from framecap.runtime.backoff import Backoff
from framecap.telemetry import mask

STARTUP_SECONDS = 60.0  # for a new process to load OpenCV, on a machine that is busy
MAX_FRUITLESS = 3  # readers in a row that die of a recording at the same place
_EXCEPTION = re.compile(r"[A-Za-z_.]+(?:Error|Exception): ")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


class Camera:
    """Runs in a thread of its own; `stop` may come from any other."""

    def __init__(
        self,
        plan: CapturePlan,
        config: CaptureConfig,
        queue: FrameQueue,
        stats: CaptureStats,
        halt: threading.Event,
    ) -> None:
        self._plan = plan
        self._config = config
        self._queue = queue
        self._stats = stats
        self._numbers = itertools.count()
        self._halt = halt
        self.broken = False  # a defect has ended `run`
        self._lock = threading.Lock()
        self._process: ReaderProcess | None = None
        self._recorded = not plan.source.live
        self._start = plan.start
        self._last_index = -1
        self._fruitless = 0
        self._backoff = Backoff(config.reconnect_min_seconds, config.reconnect_max_seconds)
        self._delay = 0.0
        self._opened_at: float | None = None
        self._logged: set[str] = set()
        self._failing: set[str] = set()  # kinds of failures since the source last answered
        self._frozen = FrozenWatch(config.frozen_seconds)

    def run(self) -> None:
        """Read until the source ends for good, or `halt` is set and `stop` was called."""
        try:
            while True:
                delay = self._turn()
                if delay is None or self._halt.wait(delay):
                    return
                self._stats.reconnected()
        except Exception:  # a defect in here must not look like the end of the source
            logger.exception("camera %s: its supervision failed", self._plan.name)
            self.broken = True
            self._stats.problem(SourceError(f"camera {self._plan.name}: its supervision failed, see the log"))
        finally:
            self._queue.close()

    def stop(self) -> None:
        """To be called after `halt` was set: ends the reader, lets the frame in flight into the queue."""
        self._queue.release()
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _turn(self) -> float | None:
        """One reader process, from its start to its end; the seconds until the next one, None when there is none."""
        before = self._last_index
        self._opened_at = None
        failure = self._read()
        if failure is None:
            self._stats.problem(None)
            return None
        if self._halt.is_set():
            self._leave()
            return None
        self._stats.problem(failure)
        if not failure.retryable:
            logger.error("%s", failure)
            return None
        if self._recorded and not isinstance(failure, ReaderNotStarted):
            return self._resume(failure, progress=self._last_index > before)
        return self._reconnect(failure)

    def _leave(self) -> None:
        if self._recorded:
            self._stats.unfinished()
            logger.warning(
                "camera %s: stopped before the end of %s: capture it again, and what is stored is ignored",
                self._plan.name,
                self._plan.source.shown,
            )

    def _resume(self, failure: SourceError, progress: bool) -> float | None:
        """A recording goes on where its reader died; one that kills its readers at the same place is given up."""
        self._fruitless = 0 if progress else self._fruitless + 1
        if self._fruitless >= MAX_FRUITLESS and self._opened_at is not None and self._plan.source.images:
            return self._ignore(failure)
        if self._fruitless >= MAX_FRUITLESS:
            logger.error("%s: given up after %d tries at the same place", failure, MAX_FRUITLESS)
            return None
        logger.warning("%s: reading goes on after frame %d", failure, self._last_index)
        return 0.0

    def _ignore(self, failure: SourceError) -> float:
        """An image that kills its readers must not take those after it along."""
        step = self._plan.sampling.every or 1
        self._last_index = (self._last_index // step + 1) * step
        self._fruitless = 0
        image = self._plan.source.images[min(self._last_index, len(self._plan.source.images) - 1)]
        logger.error("%s: image %r is skipped after %d tries", failure, mask(image), MAX_FRUITLESS)
        self._stats.drop("undecodable", 1)
        return 0.0

    def _reconnect(self, failure: SourceError) -> float:
        if self._opened_at is not None and time.monotonic() - self._opened_at > self._delay:
            self._backoff.reset()
        refused = isinstance(failure, SourceRefused)
        self._delay = self._backoff.refused() if refused else self._backoff.failed()
        first = failure.kind not in self._failing
        self._failing.add(failure.kind)
        logger.log(
            logging.WARNING if first else logging.DEBUG,
            "%s; trying again in %.1f s, and so on until it works",
            failure,
            self._delay,
        )
        return self._delay

    def _read(self) -> SourceError | None:
        """Start a reader and take what it sends; why it ended, None for a clean end."""
        start = ReaderStart(self._halt)
        try:
            process = ReaderProcess(self._request())
        except ReaderNotStarted as error:
            start.over()
            return ReaderNotStarted(f"camera {self._plan.name}: {error}")
        with self._lock:
            self._process = process
            if self._halt.is_set():
                process.kill()
        try:
            failure = self._receive(process, start)
        except ReaderGone as error:
            failure = error
        finally:
            start.over()
            with self._lock:
                self._process = None
                status = process.close()
            words = self._plan.source.scrub(process.last_words())
        if words.strip() and failure is not None:
            logger.debug("camera %s: last words of its reader: %s", self._plan.name, words)
        if isinstance(failure, ReaderGone):
            how = _cause_of_death(status, words)
            return ReaderGone(f"camera {self._plan.name}: the process that reads {self._plan.source.shown} died ({how})")
        return failure

    def _request(self) -> Request:
        source, config = self._plan.source, self._config
        return Request(
            kind=source.kind.value,
            address=source.address,
            images=source.images,
            fps=self._plan.sampling.fps,
            every=self._plan.sampling.every,
            jpeg_quality=config.jpeg_quality,
            max_size=config.max_size,
            open_timeout=config.open_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            skip=self._last_index if self._recorded else -1,
            zones=self._plan.zones,
        )

    def _receive(self, process: ReaderProcess, start: ReaderStart) -> SourceError | None:
        grace = STARTUP_SECONDS
        while True:
            message = process.receive(grace)
            match message:
                case None:
                    return SourceStalled(
                        f"camera {self._plan.name}: nothing came from {self._plan.source.shown} for {grace:g} s, "
                        "its reader is killed"
                    )
                case Ready():
                    start.over()
                    grace = self._config.open_timeout_seconds + self._config.stall_seconds
                case Opened(recorded=recorded):
                    self._opened(recorded)
                    grace = self._config.stall_seconds
                case GrabbedImage():
                    self._take(message)
                case Dropped(reason=reason, count=count, index=index, text=text):
                    self._last_index = max(self._last_index, index)
                    if reason == "undecodable" and self._plan.source.images:
                        image = self._plan.source.images[index]
                        why = mask(text) or "it cannot be decoded"
                        logger.warning("camera %s: image %r is skipped: %s", self._plan.name, mask(image), why)
                    self._stats.drop(reason, count)
                case LogNote(text=text):
                    self._say_once(f"camera {self._plan.name}: {self._plan.source.shown}: {text}")
                case Ended():
                    return self._failure(message)

    def _opened(self, recorded: bool) -> None:
        self._opened_at = time.monotonic()
        self._recorded = recorded
        if self._start is None and recorded and self._plan.source.kind is SourceKind.STREAM:
            self._start = datetime.now(UTC)
            self._say_once(
                f"camera {self._plan.name}: {self._plan.source.shown} is a recording of unknown time: now is taken for its "
                "start, and another run would store it again; give capture.start_time to prevent that"
            )
        if self._failing:
            logger.info("camera %s: %s answers again", self._plan.name, self._plan.source.shown)
        self._failing.clear()
        self._stats.problem(None)

    def _take(self, image: GrabbedImage) -> None:
        """Name a frame and queue it."""
        self._last_index = image.index
        data = image.jpeg
        if self._recorded:
            name = FrameName(self._plan.name, self._recorded_at(image), image.index)
            if self._plan.source.kind is not SourceKind.IMAGES:
                data = embed_position(data, image.at / 1_000_000)
        else:
            name = FrameName(self._plan.name, _EPOCH + timedelta(microseconds=image.at), next(self._numbers))
            self._watch(data)
        frame = CapturedFrame(name, data, live=not self._recorded)
        if self._recorded and self._queue.holds(frame):
            self._stats.already_there()
        else:
            self._queue.put(frame)

    def _recorded_at(self, image: GrabbedImage) -> datetime:
        """The same at every run, so that nothing is stored twice.

        An image of a sequence has no time but its file's, and its place in the order keeps those apart that were unpacked
        in the same moment; with a given start they are a second apart.
        """
        if self._plan.source.kind is not SourceKind.IMAGES:
            assert self._start is not None
            return self._start + timedelta(microseconds=image.at)
        if self._start is not None:
            return self._start + timedelta(seconds=image.index)
        return _EPOCH + timedelta(microseconds=image.at)

    def _watch(self, image: bytes) -> None:
        change = self._frozen.see(image, time.monotonic())
        if change == "frozen":
            self._stats.frozen()
            logger.warning(
                "camera %s: %s has shown the same image for %g s: is the camera stuck?",
                self._plan.name,
                self._plan.source.shown,
                self._config.frozen_seconds,
            )
        elif change == "moving":
            logger.info("camera %s: the image moves again", self._plan.name)

    def _say_once(self, text: str) -> None:
        if text not in self._logged:
            logger.warning("%s", text)
        self._logged.add(text)

    def _failure(self, ended: Ended) -> SourceError | None:
        """The message's error, None for a clean end."""
        where = f"camera {self._plan.name}: {self._plan.source.shown}"
        detail = f" ({mask(ended.text)})" if ended.text else ""
        match ended.reason:
            case "end":
                return None
            case "incomplete" | "unreadable":
                what = "is not whole" if ended.reason == "incomplete" else "is no video that OpenCV can read"
                return SourceError(f"{where} {what}{detail}: check that it is whole, and plays")
            case "refused":
                return SourceRefused(f"{where} refuses its user or password{detail}: correct them in the address")
            case "lost":
                return SourceUnreachable(f"{where} stopped sending{detail}")
            case _ if self._plan.source.unplugged:
                return SourceUnreachable(f"{where} is not there: plug it in, or see what /dev/video* there are")
            case _:
                return SourceUnreachable(f"{where} does not answer{detail}: check the address, and that the camera is on")


def _cause_of_death(status: int | None, words: str) -> str:
    """A process's exit status (None: it did not even die), and the exception that it ended with."""
    if status is None:
        return "it hangs in the kernel"
    if status < 0:
        return f"signal {-status}"
    last = words.strip().rpartition("\n")[2]
    return last if _EXCEPTION.match(last) else f"status {status}"
