"""What ingest is: it yields leases on pending frames and owns the set of those that are in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from framecap.errors import FramecapError
from framecap.stores.base import Entry


class Lease(Protocol):
    """A pending frame leased by a worker. Exactly one of `done` and `release` ends it."""

    @property
    def entry(self) -> Entry:
        """The frame as it was last listed."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first time this frame is leased of this process, and so on; frames that settle do not count up."""
        ...

    @property
    def replaces(self) -> bytes | None:
        """None, or the bytes of a torn sidecar that a dead writer left (or of a failed one that is to be replaced): then the
        worker commits with `store.replace_sidecar(key, data, if_match=torn)` instead of `commit_sidecar`."""
        ...

    def settles_in(self) -> float:
        """Look at the frame again: seconds until it counts as settled (unchanged for `settle_seconds`), 0.0 when it does.

        For empty and truncated frames: `failed` when 0.0, else `release(settles_in, counts=False)`; a change leases it
        earlier. Raises FrameGone and StoreUnavailable.
        """
        ...

    def done(self) -> None:
        """The frame has its sidecar (or is gone): it is not pending any more."""
        ...

    def release(self, delay: float, counts: bool = True) -> None:
        """Give the frame back, to be leased again after `delay` seconds; `counts=False` leaves `attempt` as it is."""
        ...

    @property
    def terminal_error(self) -> FramecapError | None:
        """None, or why nobody may touch this frame any more: then the worker commits it as failed, without reading it."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is waiting: frames pending (in flight included), frames in flight, the oldest pending frame's time (Unix
    seconds)."""

    pending: int
    in_flight: int
    oldest: float | None


class Ingest(Protocol):
    """Where leases come from. Safe to use from several threads."""

    def start(self) -> None: ...

    def lease(self, timeout: float) -> Lease | None:
        """The next pending frame, or None after `timeout` seconds without one. Scans give them in key order within a
        camera; a queue has no order."""
        ...

    def backlog(self) -> Backlog: ...

    def exhausted(self) -> bool:
        """Whether a whole scan (or long poll) has ended since the last frame appeared, and nothing is pending, settling or
        in flight."""
        ...

    def stop(self) -> None:
        """No more leases are asked for: what is in no hand is everybody's at once. Leases in flight stay valid."""
        ...

    def close(self) -> None:
        """Stop looking; every lease has ended."""
        ...
