"""The frames leased by a worker: each a Job on its way from lease to commit, at most so many at a time, each ended once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from framecap import frames
from framecap.captioning.caption import Caption, ModelName
from framecap.decoding.pool import DecodedFrame
from framecap.frames import FrameName
from framecap.ingest.base import Lease
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Entry

_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC).timestamp()  # a file can claim to be of any year


@dataclass(eq=False, slots=True)
class Job:
    """One frame and what is known of it so far; one thread at a time has it. Times are seconds of the monotonic clock."""

    lease: Lease
    entry: Entry  # first as listed, then as it was when it was read
    leased_at: float = field(default_factory=time.monotonic)
    data: bytes = b""
    sha256: str | None = None
    position: float | None = None
    image: DecodedFrame | None = None
    decoded_at: float = 0.0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    wait_seconds: float = 0.0
    caption_seconds: float = 0.0
    model: ModelName | None = None  # that captioned it
    steady: str | None = None  # the caption of its scene
    outcome: Caption | Sidecar | Exception | None = None  # a Sidecar is the original that this frame is a duplicate of

    @property
    def key(self) -> str:
        return self.lease.entry.key

    def name(self) -> FrameName | None:
        return frames.parse_key(self.key)

    def camera(self) -> str:
        return frames.camera_of(self.key)

    def captured_at(self) -> datetime:
        name = self.name()
        return name.captured_at if name else datetime.fromtimestamp(min(max(self.entry.modified, 0.0), _LAST_TIME), UTC)


class InFlight:
    """The jobs between lease and commit. `ahead` counts those that have not reached the captioner yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: set[Job] = set()
        self._ahead: set[Job] = set()

    def take(self, job: Job) -> None:
        with self._changed:
            self._jobs.add(job)
            self._ahead.add(job)

    def reached_captioner(self, job: Job) -> None:
        with self._changed:
            self._ahead.discard(job)

    def end(self, job: Job) -> bool:
        """Whether the job was still in flight: only the caller that is told so may end its lease."""
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.discard(job)
            self._ahead.discard(job)
            self._changed.notify_all()
            return True

    @property
    def ahead(self) -> int:
        return len(self._ahead)

    @property
    def jobs(self) -> tuple[Job, ...]:
        with self._changed:
            return tuple(self._jobs)

    def wait_for_less_than(self, count: int, timeout: float) -> bool:
        """Whether fewer than `count` jobs were in flight within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._jobs) < count, timeout)


class ByteBudget:
    """How many bytes of images may be in memory; one image may, whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._open_to_all = False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._open_to_all or not self._taken or self._taken + size <= self._limit)
            self._taken += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._open_to_all = True
            self._changed.notify_all()
