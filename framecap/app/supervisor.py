"""`framecap run`: a configuration in, an exit code out; capture and work are two processes that this one starts and watches.

The children hear commands and tell what they do through a pipe each; nothing of a source is an argument of theirs. A child
whose parent dies drains and ends. Should one child die, the other is ended in good order, and the run has failed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType

from framecap.app import parts
from framecap.app.console import CaptionSummary, Console
from framecap.app.parts import CaptureOutcome, WorkOutcome
from framecap.app.refining import run_refiner, second_captioner
from framecap.app.subtitles import leave_subtitles
from framecap.captioning.caption import Captioner
from framecap.config import CaptioningConfig, Config
from framecap.errors import FramecapError
from framecap.runtime.signals import StopFlag, reload_on_sighup, stop_on_signals
from framecap.telemetry import forward_logging
from framecap.telemetry.child_reports import ChildReport, ChildReports, report_until_the_end
from framecap.worker.reload import Reload

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SPAWN = multiprocessing.get_context("spawn")
_POLL_SECONDS = 0.25  # how soon a signal is acted upon
_LOADING_SECONDS = 60.0  # that a second captioner may take until it looks
_END_SECONDS = 10.0  # for a child that has closed its pipe to be gone
_FORCED_EXIT_CODE = 1


def run_supervised(config: Config, console: Console, read_again: Callable[[], Config], *, refine: bool = False) -> int:
    """Capture what `config.capture.cameras` names and caption it; returns when all sources have ended and all frames
    are done.

    The first SIGINT or SIGTERM ends capture and drains the worker; a second one kills both. SIGHUP gives the worker the
    model that `read_again` names by then. Raises SourceNotFound and
    ConfigError before anything starts.
    """
    parts.check_sources(config)
    if refine:
        second_captioner(config)
    return _Supervisor(config, console, read_again, refine=refine).run()


class _Supervisor:
    def __init__(self, config: Config, console: Console, read_again: Callable[[], Config], *, refine: bool = False) -> None:
        self._config = config
        self._read_again = read_again
        self._other_model = StopFlag()
        self._console = console
        self._capture = _Child("capture", _capture, config, console.log_style)
        self._worker = _Child("worker", _work, config, console.log_style)
        self._refiner = _Child("refine", _refine, config, console.log_style) if refine else None
        self._children = tuple(child for child in (self._capture, self._worker, self._refiner) if child is not None)
        self._gathered = ChildReports(*(child.name for child in self._children))
        self._stopping = False
        self._on_its_way = 0  # frames that capture has stored
        self._captured: CaptureOutcome | None = None
        self._worked: WorkOutcome | None = None
        self._example: str | None = None
        self._exit_code = 0  # of a child that failed

    def run(self) -> int:
        with (
            parts.served(self._config.telemetry, self._gathered),
            _stop_or_kill(self._children) as flag,
            reload_on_sighup(self._other_model.set, flag),
            self._left_on_failure(),
        ):
            self._start(self._worker)
            while any(child.running for child in self._children):
                self._hear()
                if self._other_model.is_set():
                    self._other_model = StopFlag()
                    self._change_model()
                self._steer(flag.is_set())
        if self._captured or self._worked:  # else neither has run, and what is there is of another run
            summary = parts.summary(self._config, self._captured, self._worked, self._example)
            self._console.summary(replace(summary, subtitles=leave_subtitles(self._config) or None))
        return self._exit_code or parts.exit_code(self._captured, self._worked)

    @contextmanager
    def _left_on_failure(self) -> Iterator[None]:
        """Children that nobody hears must end as if we had died, or the end of this process would wait for them for ever."""
        try:
            yield
        except BaseException:
            for child in self._children:
                child.pipe.close()
            raise

    def _change_model(self) -> None:
        try:
            self._worker.tell(self._read_again().captioning)
        except FramecapError as error:
            logger.error("the model was not changed, the one before goes on: %s", error)  # noqa: TRY400

    def _steer(self, stop: bool) -> None:
        """What the children are told depends on what is running and whether it is over for everybody."""
        self._stopping = self._stopping or stop
        if self._worker.ready and not (self._capture.started or self._stopping):
            if self._refiner is not None:
                self._start(self._refiner)
            self._start(self._capture)
        if self._stopping or not self._worker.running:
            self._capture.order("stop")
        if self._capture.over or (self._stopping and not self._capture.started):
            self._worker.order("stop" if self._stopping else "finish")
        if self._refiner is not None and (self._worker.over or self._stopping):
            self._refiner.order("stop" if self._stopping else "finish")

    def _start(self, child: _Child) -> None:
        self._gathered.started(child.name)
        child.start()

    def _hear(self) -> None:
        children = {child.pipe: child for child in self._children if child.running}
        for pipe in wait(list(children), _POLL_SECONDS):
            child = children[pipe]  # type: ignore[index]
            try:
                message = child.pipe.recv()
            except (EOFError, OSError):
                self._ended(child)
            else:
                self._take(child, message)

    def _take(self, child: _Child, message: object) -> None:
        match message:
            case ("ready",):
                child.ready = True
            case ("frame",):
                self._on_its_way += 1
                self._console.expect(self._on_its_way)
            case ("caption", CaptionSummary() as output):
                self._example = output.key
                self._console.show_caption(output)
            case ("log", str() as line):
                self._console.log(line)
            case ("telemetry", ChildReport() as report):
                self._gathered.heard(child.name, report)
            case ("captured", CaptureOutcome() as captured):
                self._captured = captured
            case ("worked", WorkOutcome() as worked):
                self._worked = worked
            case ("failed", int() as exit_code):
                self._exit_code = self._exit_code or exit_code
                child.failed = True

    def _ended(self, child: _Child) -> None:
        exit_code = child.join()
        self._gathered.over(child.name)
        if exit_code == 0 or child.failed:
            return
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        logger.error("the %s process died (%s): nothing is lost, start again to go on where it stopped", child.name, how)
        self._exit_code = self._exit_code or 1


class _Child:
    """One of the two processes, its pipe, and what is known of its life."""

    def __init__(self, name: str, body: _Body, config: Config, log_style: str) -> None:
        self.name = name
        self.ready = False
        self.failed = False
        self.started = False
        self.over = False
        self._orders: set[str] = set()
        self.pipe, self._theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_child, args=(body, self._theirs, config, log_style), name=f"framecap {name}", daemon=False
        )

    @property
    def running(self) -> bool:
        return self.started and not self.over

    def start(self) -> None:
        with _signals_held():
            self._process.start()
        self.started = True
        self._theirs.close()  # so that the pipe ends with the child

    def order(self, command: str) -> None:
        """Tell it once; one that is not running need not be told."""
        if self.running and command not in self._orders:
            self._orders.add(command)
            self.tell(command)

    def tell(self, message: object) -> None:
        if self.running:
            with suppress(OSError):
                self.pipe.send(message)

    def join(self) -> int:
        """Its exit code, when its pipe has ended."""
        self._process.join(_END_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self.over = True
        self.pipe.close()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        if self.running:
            self._process.kill()


@contextmanager
def _signals_held() -> Iterator[None]:
    """A child that is started in here gets its first signal when it can act on it (see `_child`), and so do we."""
    resource_tracker.ensure_running()  # the process that multiprocessing starts beside ours, and lets signals through for
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def _stop_or_kill(children: tuple[_Child, ...]) -> Iterator[StopFlag]:
    """As `stop_on_signals`, and the second signal takes the children along."""
    with stop_on_signals() as flag:
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}

        def on_signal(number: int, frame: FrameType | None) -> None:
            if flag.is_set():
                for child in children:
                    child.kill()
                os._exit(_FORCED_EXIT_CODE)
            flag.set()

        for number in _SIGNALS:
            signal.signal(number, on_signal)
        try:
            yield flag
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


class _ChildChannel:
    """A child's end of the pipe; several threads tell. A parent that is gone is nobody to tell."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def tell(self, *message: object) -> None:
        with self._lock, suppress(OSError):
            self._pipe.send(message)


class _ModelReload:
    """What a child is told of another model; only the worker cares."""

    def __init__(self) -> None:
        self._config: CaptioningConfig | None = None
        self.reload = Reload(self._load)

    def named(self, config: CaptioningConfig) -> None:
        self._config = config
        self.reload.ask()

    def _load(self) -> Captioner:
        assert self._config is not None
        return parts.load_another(self._config)


_Body = Callable[[Config, _ChildChannel, StopFlag, StopFlag, _ModelReload], None]


def _child(body: _Body, pipe: Connection, config: Config, log_style: str) -> None:
    """The main function of both children."""
    teller = _ChildChannel(pipe)
    forward_logging(config.log.level, log_style, lambda line: teller.tell("log", line))
    finish, other = StopFlag(), _ModelReload()
    with stop_on_signals() as stop:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # so are these
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which tells us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        threading.Thread(target=_listen, args=(pipe, stop, finish, other), name="orders", daemon=True).start()
        if config.telemetry.port is not None:
            report_until_the_end(lambda report: teller.tell("telemetry", report))
        try:
            body(config, teller, stop, finish, other)
        except FramecapError as error:
            logger.error("%s", error)  # noqa: TRY400 - the message is all that helps
            teller.tell("failed", error.exit_code)
        except Exception:
            logger.exception("this should not have happened")
            teller.tell("failed", 1)


def _listen(pipe: Connection, stop: StopFlag, finish: StopFlag, other: _ModelReload) -> None:
    flags = {"stop": stop, "finish": finish}
    while True:
        try:
            match pipe.recv():
                case CaptioningConfig() as named:
                    other.named(named)
                case command:
                    flags[command].set()
        except (EOFError, OSError):  # the parent is gone
            stop.set()
            return


def _capture(config: Config, teller: _ChildChannel, stop: StopFlag, finish: StopFlag, other: _ModelReload) -> None:
    captured = parts.capture(config, stop, lambda key: teller.tell("frame"))
    teller.tell("captured", captured)


def _work(config: Config, teller: _ChildChannel, stop: StopFlag, finish: StopFlag, other: _ModelReload) -> None:
    work = parts.open_work(config, other.reload)
    teller.tell("ready")
    teller.tell("worked", work.run(stop, finish, lambda sidecar: teller.tell("caption", CaptionSummary.of(sidecar))))


def _refine(config: Config, teller: _ChildChannel, stop: StopFlag, finish: StopFlag, other: _ModelReload) -> None:
    run_refiner(config, stop, finish, backlog_seconds=_LOADING_SECONDS)
