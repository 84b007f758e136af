"""The worker: pending frames in, committed sidecars out, through threads that hand each other jobs.

    lease → read → decode → (near-duplicates) → batch and caption → commit → lease done

At most `worker.queue` frames are in flight at a time, which bounds every queue in between. Whatever goes wrong with a
frame stays with it: it is tried again where that can help, else its sidecar says what was wrong.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable

from framecap import frames, telemetry
from framecap.captioning.caption import Captioner
from framecap.config import WorkerConfig
from framecap.errors import (
    CaptionerUnavailable,
    DeviceMemoryError,
    EmptyFrame,
    FolderClosed,
    FramecapError,
    FrameGone,
    FrameUnreadable,
    KeyRefused,
    MissingError,
    ModelError,
    StoreError,
    StoreUnavailable,
    TruncatedFrame,
)
from framecap.frames import MAX_SIDECAR_BYTES
from framecap.ingest.base import Ingest
from framecap.runtime.stop import StopRequest
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import CommitResult, Store
from framecap.telemetry import Heartbeat
from framecap.worker.batches import Batches
from framecap.worker.closed_folders import ClosedFolders
from framecap.worker.health import WorkerHealth
from framecap.worker.jobs import ByteBudget, InFlight, Job
from framecap.worker.model import CurrentModel
from framecap.worker.near_duplicates import DuplicateVerdicts, NearDuplicates
from framecap.worker.reload import Reload
from framecap.worker.sidecar_records import record
from framecap.worker.stages import Stage
from framecap.worker.stats import WorkerStats, WorkSummary
from framecap.worker.store_backoff import StoreBackoff

logger = logging.getLogger(__name__)

_READERS = 4  # a read from a mount waits for the network most of its time
_UNDECODED_BYTES = 256 << 20  # of images that were read; the queue alone would let in worker.queue of worker.max_bytes
_COMMITTERS = 8  # so does a commit, or for the disk
_POLL_SECONDS = 0.25  # how often an idle worker looks whether it is to stop
_READ_TRIES = 7  # half a minute: of a frame that cannot be read while the store answers
_RETRY_SECONDS = 0.5  # before the second try of a frame, twice as long before the third
_LOOK_AGAIN_SECONDS = 1.0  # before the next look at a frame that is still being written
_UNREADABLE_SECONDS = 3.0  # between two tries of a frame that the store refuses to show
_JOIN_SECONDS = 1.0


def run_worker(
    config: WorkerConfig,
    store: Store,
    ingest: Ingest,
    captioner: Captioner,
    stop: StopRequest,
    finish: StopRequest,
    on_commit: Callable[[Sidecar], None] | None = None,
    reload: Reload | None = None,
) -> WorkSummary:
    """Caption frames until told otherwise; `ingest` is started before and closed after by the caller.

    `stop`: take no new frames, drain for up to `worker.grace_seconds`, give back the rest. `finish`: return when ingest is
    exhausted. `on_commit` hears of each sidecar that was committed here, from one thread at a time. `reload` brings
    another captioner when it is asked to. Raises MissingError when no decoder starts on this machine.
    """
    worker = _Worker(config, store, ingest, captioner, WorkerStats(on_commit), reload)
    return worker.run(stop, finish)


class _Worker:
    def __init__(
        self,
        config: WorkerConfig,
        store: Store,
        ingest: Ingest,
        captioner: Captioner,
        stats: WorkerStats,
        reload: Reload | None,
    ) -> None:
        self._config = config = config.filled_in(captioner.batch_size, captioner.lanes)
        self._store = store
        self._ingest = ingest
        self._model = CurrentModel(captioner, config)
        self._reload = reload
        self._stats = stats
        self._near_duplicates = NearDuplicates(config.near_duplicates) if config.near_duplicates.enabled else None
        self._in_flight = InFlight()
        self._byte_budget = ByteBudget(_UNDECODED_BYTES)
        self._store_backoff = StoreBackoff()
        self._folders = ClosedFolders()
        self._batches = Batches(config.batch_wait_ms / 1000, self._in_flight)
        self._reading = Stage("read", _READERS, self._read, self._went_wrong)
        self._decoding = Stage("decode", self._model.decoders, self._decode, self._went_wrong)
        self._committing = Stage("commit", _COMMITTERS, self._commit, self._went_wrong)
        self._health = WorkerHealth(
            ingest, [self._store_backoff.problem, self._folders.problem, self._model.problem], captioner.lanes
        )
        self._over = False  # what is still under way is nobody's any more
        self._fatal: BaseException | None = None

    def run(self, stop: StopRequest, finish: StopRequest) -> WorkSummary:
        started = time.monotonic()
        leasing = threading.Thread(target=self._guarded, args=(self._lease_frames, stop, finish), name="lease", daemon=True)
        captioning = [
            threading.Thread(target=self._guarded, args=(self._caption_batches, heartbeat), name=heartbeat.name, daemon=True)
            for heartbeat in self._health.captioning
        ]
        stages = (self._reading, self._decoding, self._committing)
        threads = [leasing, *captioning, *(thread for stage in stages for thread in stage.threads)]
        with self._health.seen():
            try:
                for thread in threads:
                    thread.start()
                leasing.join()
                self._ingest.stop()
                self._drain(stop)
            finally:
                self._end(threads)
        if self._fatal:
            raise self._fatal
        return self._stats.summary(time.monotonic() - started)

    # The flow, from thread to thread

    def _lease_frames(self, stop: StopRequest, finish: StopRequest) -> None:
        """Until it is time to stop. In trouble one frame at a time is tried, so that little work is done for nothing."""
        while not (stop.is_set() or self._over or self._fatal):
            self._health.leasing.beat()
            if self._reload:
                self._reload.poll(self._model.change)
            if (wait := self._store_backoff.wait) > 0:
                time.sleep(min(wait, _POLL_SECONDS))
                continue
            if not self._in_flight.wait_for_less_than(
                1 if self._store_backoff.in_outage else self._config.queue, _POLL_SECONDS
            ):
                continue
            try:
                lease = self._ingest.lease(_POLL_SECONDS)
            except StoreUnavailable as error:
                self._store_backoff.failed(error)
                continue
            if lease is not None:
                self._take(Job(lease, lease.entry))
            elif finish.is_set() and self._ingest.exhausted():
                return

    def _take(self, job: Job) -> None:
        self._in_flight.take(job)
        if self._near_duplicates:
            self._near_duplicates.leased(job)
        self._reading.put(job)
        if self._over:
            self._give_back(job, 0.0)

    def _read(self, job: Job) -> None:
        if (wait := self._folders.wait(job.key)) > 0:
            self._give_back(job, wait)
            return
        started = time.monotonic()
        job.entry = self._store.stat(job.key)
        if job.lease.terminal_error is not None:
            raise job.lease.terminal_error
        self._byte_budget.take(self._needed(job))
        try:
            job.data = self._store.read(job.key, self._config.max_bytes)
        except BaseException:
            self._byte_budget.give_back(self._needed(job))
            raise
        self._store_backoff.frame_read(job.key)
        job.sha256 = hashlib.sha256(job.data).hexdigest()
        job.position = frames.read_position(job.data)
        job.read_seconds = self._spent("read", started)
        self._decoding.put(job)

    def _decode(self, job: Job) -> None:
        started = time.monotonic()
        try:
            job.image = self._model.decode(job.data)
        finally:
            job.data = b""
            self._byte_budget.give_back(self._needed(job))
        job.decode_seconds = self._spent("decode", started)
        job.decoded_at = time.monotonic()
        if self._near_duplicates:
            self._follow(self._near_duplicates.decoded(job))
        else:
            self._batches.put(job)
        self._in_flight.reached_captioner(job)

    def _needed(self, job: Job) -> int:
        """Bytes that the image takes between reading and decoding."""
        return min(job.entry.size, self._config.max_bytes)

    def _caption_batches(self, heartbeat: Heartbeat) -> None:
        while (batch := self._batches.take(self._model.limit)) is not None and not self._over:
            started = time.monotonic()
            heartbeat.beat()
            answers = self._model.caption(batch)
            heartbeat.rest()
            seconds = self._spent("caption", started)
            for job, answer in zip(batch.jobs, answers, strict=True):
                job.wait_seconds = started - job.decoded_at
                job.caption_seconds = seconds
                if answer is None:
                    self._give_back(job, 0.0)
                elif isinstance(answer, Exception):
                    self._went_wrong(job, answer)
                else:
                    job.outcome = answer
                    self._committing.put(job)

    def _commit(self, job: Job) -> None:
        started = time.monotonic()
        made, data = self._record(job)
        try:
            outcome = self._write(job, data)
        except (FrameGone, FrameUnreadable, StoreUnavailable) as error:
            self._went_wrong(job, error)
        except KeyRefused as error:
            logger.warning("%s: no sidecar can be written: %s", job.key, error)
            self._finished(job, None)
        except Exception as error:
            logger.exception("%s: its sidecar could not be written", job.key)
            self._give_back(job, self._store_backoff.failed(error))
        else:
            self._spent("commit", started)
            self._written(job, made, outcome)

    def _record(self, job: Job) -> tuple[Sidecar, bytes]:
        """The sidecar, and its bytes: never one that readers refuse."""
        try:
            made = record(job)
            data = sidecar.encode(made)
            wrong = f"{len(data)} bytes" if len(data) > MAX_SIDECAR_BYTES else None
        except ValueError as error:
            wrong = str(error)
        if wrong is not None:
            job.outcome = ModelError(f"the model's answer does not fit into a sidecar: {wrong}")
            logger.warning("%s: failed: %s", job.key, job.outcome)
            made = record(job)
            data = sidecar.encode(made)
        return made, data

    def _write(self, job: Job, data: bytes) -> CommitResult | None:
        """None when the frame was replaced meanwhile: the sidecar would be about an image that is gone."""
        if not isinstance(job.outcome, FrameUnreadable) and self._store.stat(job.key) != job.entry:
            return None
        if job.lease.replaces is not None:
            return self._store.replace_sidecar(job.key, data, if_match=job.lease.replaces)
        return self._store.commit_sidecar(job.key, data)

    def _written(self, job: Job, made: Sidecar, outcome: CommitResult | None) -> None:
        self._store_backoff.worked()
        if outcome is not None:
            self._folders.took(job.key)
        match outcome:
            case CommitResult.COMMITTED:
                self._stats.committed(made)
                self._finished(job, made)
            case CommitResult.ALREADY_THERE:
                self._stats.already_there()
                self._finished(job, None)
            case None:
                self._give_back(job, _LOOK_AGAIN_SECONDS)

    # The ends of a job

    def _went_wrong(self, job: Job, error: Exception) -> None:
        """Try the frame again where that can help, else let its sidecar say what is wrong with it."""
        if self._over:
            return
        retryable = error.retryable if isinstance(error, FramecapError) else True
        match error:
            case FrameGone():  # the store has answered
                self._store_backoff.worked()
                self._finished(job, None)
            case FolderClosed():
                self._give_back(job, self._folders.refused(job.key, error))
            case StoreUnavailable() if job.sha256 is None:
                self._not_read(job, error)
            case StoreUnavailable() | DeviceMemoryError() | CaptionerUnavailable():  # no fault of the frame's
                self._give_back(job, self._store_backoff.failed(error))
            case MissingError():
                self._fatal = error
                self._give_back(job, 0.0)
            case EmptyFrame() | TruncatedFrame() | FrameUnreadable():
                self._unfinished(job, error)
            case _ if retryable and job.lease.attempt < self._config.attempts:
                logger.warning("%s: try %d of %d: %s", job.key, job.lease.attempt, self._config.attempts, error)
                self._give_back(job, _RETRY_SECONDS * 2.0 ** (job.lease.attempt - 1), counts=True)
            case _:
                self._failed(job, error)

    def _not_read(self, job: Job, error: StoreUnavailable) -> None:
        """The store is unavailable, or this one frame: an object of another account, a bad sector."""
        tries = self._store_backoff.frame_failed(job.key, self._store_answers)
        if tries is None:
            self._give_back(job, self._store_backoff.failed(error))
        elif tries < _READ_TRIES:
            self._give_back(job, self._store_backoff.frame_delay(tries))
        else:
            self._store_backoff.frame_read(job.key)
            self._failed(job, FrameUnreadable(f"{error} ({tries} tries)"))

    def _store_answers(self) -> bool:
        try:
            next(iter(self._store.top()), None)
        except Exception:  # whatever it is, it is no answer
            return False
        return True

    def _unfinished(self, job: Job, error: Exception) -> None:
        """Its writer may be at it still: wait until the file has not changed for a while."""
        try:
            seconds = job.lease.settles_in()
        except FrameUnreadable:  # it cannot even be looked at: tried a few times, for a right that comes late
            last = job.lease.attempt >= self._config.attempts
            self._failed(job, error) if last else self._give_back(job, _UNREADABLE_SECONDS, counts=True)
            return
        except StoreError as outage:
            self._went_wrong(job, outage)
            return
        if seconds > 0:
            self._give_back(job, seconds)
        else:
            self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        if job.lease.replaces is not None and sidecar.has_caption(job.lease.replaces):
            logger.warning("%s: failed, so its old caption stays: %s", job.key, error)
            self._stats.not_replaced()
            self._finished(job, None)
            return
        logger.warning("%s: failed: %s", job.key, error)
        job.outcome = error
        self._committing.put(job)

    def _give_back(self, job: Job, delay: float, counts: bool = False) -> None:
        if self._in_flight.end(job):
            job.lease.release(delay, counts=counts)
            self._ended(job, None)

    def _finished(self, job: Job, made: Sidecar | None) -> None:
        if self._in_flight.end(job):
            job.lease.done()
            self._ended(job, made)

    def _ended(self, job: Job, made: Sidecar | None) -> None:
        if self._near_duplicates:
            self._follow(self._near_duplicates.ended(job, made))

    def _follow(self, verdicts: DuplicateVerdicts) -> None:
        for job in verdicts.to_caption:
            self._batches.put(job)
        for job in verdicts.duplicates:
            self._committing.put(job)

    # The end of the worker

    def _drain(self, stop: StopRequest) -> None:
        """Wait for what is in flight: as long as it takes, or for the grace time once it is to stop."""
        deadline: float | None = None
        while not self._fatal and not self._in_flight.wait_for_less_than(1, _POLL_SECONDS):
            self._health.leasing.beat()
            if deadline is None and stop.is_set():
                logger.info("stopping: %d frames in flight are finished first", len(self._in_flight.jobs))
                deadline = time.monotonic() + self._config.grace_seconds
            if deadline is not None and time.monotonic() >= deadline:
                logger.warning("the grace time is over: %d frames are given back", len(self._in_flight.jobs))
                return

    def _end(self, threads: list[threading.Thread]) -> None:
        self._over = True
        self._byte_budget.end()
        for stage in (self._reading, self._decoding, self._committing):
            stage.end()
        self._batches.end()
        for job in self._in_flight.jobs:
            self._give_back(job, 0.0)
        self._model.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _guarded(self, body: Callable[..., None], *arguments: StopRequest | Heartbeat) -> None:
        try:
            body(*arguments)
        except BaseException as error:  # a thread's error must end the worker, not only the thread
            self._fatal = error

    def _spent(self, stage: str, started: float) -> float:
        seconds = time.monotonic() - started
        telemetry.stage_seconds.labels(stage).observe(seconds)
        return seconds
