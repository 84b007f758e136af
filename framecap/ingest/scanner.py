"""A store in, leases on its pending frames out: scans are the truth, hints bring frames forward."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TypeGuard

from framecap.config import IngestConfig
from framecap.errors import FrameGone, FrameUnreadable, KeyRefused, StoreUnavailable
from framecap.frames import is_frame_key
from framecap.ingest.admission import LIMIT, Admission, Refill
from framecap.ingest.base import Backlog
from framecap.ingest.directory_watch import DirectoryWatch
from framecap.ingest.ownership import Ownership
from framecap.ingest.pending import Pending, PendingFrame
from framecap.ingest.shard import Shard
from framecap.ingest.wall_clock import WallClock
from framecap.sidecars.sidecar import is_torn
from framecap.stores.base import Entry, Store
from framecap.stores.listing import Listing, pairs
from framecap.telemetry import health

logger = logging.getLogger(__name__)

_MAX_BACK_OFF = 30.0  # seconds between two tries of a store that is away
_SCAN_SHARE, _LONGEST_PAUSE = 0.1, 10.0  # of the time, at most, is spent on scans, as long as no pause gets longer (seconds)
_HINTED_SCAN_SHARE, _HINTED_LONGEST_PAUSE = 0.02, 60.0  # where hints find what is new, and scans only what they miss
_REFILL_SECONDS = 1.0  # between two looks whether there is room for what was skipped
_MAX_SUSPECTS = 1000


class ScanLease:
    """A pending frame leased by a worker."""

    terminal_error = None  # who kills its worker here is decoded by a child, and fails after some tries

    def __init__(self, ingest: ScanIngest, item: PendingFrame) -> None:
        self._ingest = ingest
        self.entry: Entry = item.entry
        self.attempt: int = item.attempts + 1
        self.replaces: bytes | None = item.replaces
        self._ended = False

    def settles_in(self) -> float:
        return self._ingest.settles_in(self.entry.key)

    def done(self) -> None:
        self._end()
        self._ingest.finish(self.entry)

    def release(self, delay: float, counts: bool = True) -> None:
        self._end()
        self._ingest.pending.release(self.entry.key, delay, counts)

    def _end(self) -> None:
        """The frame may be in another hand already: to end a lease twice would end that one's."""
        if self._ended:
            raise RuntimeError(f"the lease on {self.entry.key!a} has ended already")
        self._ended = True


class ScanIngest:
    """Scans a store in a thread of its own and, where `watched` is a directory, listens for hints."""

    def __init__(self, config: IngestConfig, store: Store, watched: Path | None) -> None:
        self._config = config
        self._store = store
        self.pending = Pending(config.settle_seconds, config.scan_seconds / 2, admission=Admission(LIMIT))
        self._listing = Listing(store, timedelta(seconds=config.lookback_seconds))
        self._watch = None if watched is None else DirectoryWatch(watched, self._on_file, self._on_folder)
        self._shard = None if config.shard is None else Shard.parse(config.shard)
        self._ownership = Ownership(store)
        self._suspects: set[str] = set()  # found by the last scan, and not yet told of by a hint
        self._renewed = -math.inf  # when hints were last found to be missing
        self._share = _SCAN_SHARE if watched is None else _HINTED_SCAN_SHARE
        self._longest_pause = _LONGEST_PAUSE if watched is None else _HINTED_LONGEST_PAUSE
        self._back_off = 0.0
        self._clock = WallClock()
        self._wake = threading.Condition()
        self._full_wanted = True
        self._closing = False
        self._full_began = -math.inf  # of the last full scan that came to its end
        self._full_took = 0.0
        self._asked: float | None = None  # when `exhausted` was first wanted to be known
        self._outage: str | None = None  # why the last scan failed
        self._seen = ExitStack()
        self._thread = threading.Thread(target=self._run, name="framecap-scan", daemon=True)

    def start(self) -> None:
        self._seen.enter_context(health.watching(ready=[lambda: self._outage]))
        if self._watch is not None:
            self._watch.start()  # before the first scan: what appears in between is told of
        self._ownership.start()
        self._thread.start()

    def lease(self, timeout: float) -> ScanLease | None:
        item = self.pending.take(timeout)
        return None if item is None else ScanLease(self, item)

    def backlog(self) -> Backlog:
        return self.pending.backlog()

    def exhausted(self) -> bool:
        if self._asked is None:
            self._asked = time.monotonic()  # a frame stored just before may have been told of by nothing yet
        idle_since = self.pending.idle_since()
        if idle_since is None:
            return False
        if self._full_began > max(idle_since, self._asked) and not self._ownership.skipped:
            return self._ownership.complete
        self._want_full()
        return False

    def stop(self) -> None:
        """Nothing here is kept from others."""

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._seen.close()
        self._ownership.close()
        self.pending.close()
        if self._watch is not None:
            self._watch.stop()
        if self._thread.is_alive():
            self._thread.join(5)  # a store that hangs must not keep the process from ending

    def settles_in(self, key: str) -> float:
        """See Lease. On a disk of this machine the file's own time counts as well, but not soon after the clock was set."""
        entry = self._store.stat(key)
        self.pending.observe(entry, sure=False)
        seconds = self.pending.settles_in(key)
        if self._store.hints and self._clock.stable_for() >= self._config.settle_seconds:
            seconds = min(seconds, max(0.0, entry.modified + self._config.settle_seconds - self._clock.now()))
        return seconds

    def finish(self, entry: Entry) -> None:
        """A frame in flight is done; one that was replaced meanwhile is looked at again."""
        if self.pending.done(entry.key, entry.etag):
            self._look(entry.key, finished=True)

    def _want_full(self) -> None:
        with self._wake:
            self._full_wanted = True
            self._wake.notify_all()

    def _is_ours(self, key: str) -> bool:
        return self._shard is None or self._shard.holds(key)

    # --- hints: called by the observer's thread ---

    def _on_file(self, key: str, finished: bool) -> None:
        self._suspects.discard(key)
        if is_frame_key(key) and self._is_ours(key):
            self._look(key, finished)

    def _on_folder(self, key: str) -> None:
        """A folder appeared: what it holds already may have come before the events did."""
        self.pending.touch()
        try:
            for frame, sidecar in pairs(self._store.list(prefix=key)):
                if not _is_there(sidecar) and self._is_ours(frame.key):
                    self.pending.observe(frame, sure=True, listed=True)
        except StoreUnavailable:
            self._want_full()
        self.pending.touch()

    def _look(self, key: str, finished: bool) -> None:
        """One frame: pending, unless it has its sidecar or is not there."""
        try:
            entry = self._store.stat(key)
            if key in self.pending or not self._store.read_sidecar(key):
                self.pending.observe(entry, sure=finished or entry.size > 0)
        except (FrameGone, FrameUnreadable, KeyRefused):
            pass
        except StoreUnavailable:
            self._want_full()

    # --- scans: the scan thread ---

    def _run(self) -> None:
        next_full = -math.inf
        while not self._closing:
            with self._wake:
                full, self._full_wanted = self._full_wanted or time.monotonic() >= next_full, False
            began = time.monotonic()
            worked = self._works(lambda full=full: self.scan(full))  # type: ignore[misc]
            took = time.monotonic() - began
            if worked and full:
                self._full_took = took
                next_full = began + max(self._config.full_scan_seconds, took / self._share)
            self._pause(took, full)

    def _works(self, look: Callable[[], None]) -> bool:
        """Whether the store let us look; if not, everything is looked at again after a while."""
        try:
            look()
        except StoreUnavailable as error:
            if not self._back_off:
                logger.warning("cannot scan, will try again: %s", error)
            self._outage = f"cannot scan, trying again: {error}"
            self._back_off = min(max(2 * self._back_off, self._config.scan_seconds), _MAX_BACK_OFF)
            self._want_full()
        except Exception:
            logger.exception("a scan failed, will try again")
            self._outage = "a scan failed, see the log; trying again"
            self._back_off = _MAX_BACK_OFF
        else:
            if self._back_off:
                logger.info("scans work again")
            self._back_off = 0.0
            self._outage = None
        return not self._back_off

    def _pause(self, took: float, full: bool) -> None:
        """Until the next scan is due, which is longer after a slow one; what was skipped is looked for meanwhile.

        A wanted full scan comes sooner, but not at once after the last. Full scans are far apart as it is: a long one puts
        off only the next full one.
        """
        ended = time.monotonic()
        longest = self._longest_pause if full else max(self._longest_pause, took)
        due = ended + (self._back_off or max(self._config.scan_seconds, min(took / self._share, longest)))
        refilled = -math.inf
        while not self._is_over(due, ended + self._full_took, refilled):
            began = time.monotonic()
            if not self._works(self.refill):
                due = time.monotonic() + self._back_off
            refilled = time.monotonic() + (time.monotonic() - began) / _SCAN_SHARE

    def _is_over(self, due: float, due_full: float, refilled: float) -> bool:
        """Wait; whether the pause is over, or it is time to see whether there is room for what was skipped."""
        with self._wake:
            while not self._closing:
                now = time.monotonic()
                until = min(due, due_full) if self._full_wanted and not self._back_off else due
                if now >= until:
                    return True
                if not self._back_off and not self.pending.is_whole():
                    if now >= refilled + _REFILL_SECONDS:
                        return False
                    until = min(until, refilled + _REFILL_SECONDS)
                self._wake.wait(until - now)
        return True

    def refill(self) -> None:
        """List the folders again in which frames were skipped, as far as there is room."""
        for refill in self.pending.refills():
            self.pending.refilled(refill, self._refill_folder(refill))

    def _refill_folder(self, refill: Refill) -> str | None:
        """The first key that had no room; None when all had."""
        if refill.prefix:
            entries = self._store.list(refill.prefix, refill.after)
        else:
            entries = (item for item in self._store.top() if isinstance(item, Entry) and item.key > refill.after)
        for frame, sidecar in pairs(entries):
            if self._closing:
                return frame.key
            if not self._is_ours(frame.key):
                continue
            if _is_there(sidecar):
                self.pending.drop(frame.key)
            elif not self.pending.refill(frame, self._is_sure(frame.key)):
                return frame.key
        return None

    def scan(self, full: bool) -> None:
        """Look once, as the thread does again and again: at everything, or where something new can be. Raises
        StoreUnavailable."""
        self._tend_watch()
        first = self._full_began == -math.inf
        began = self.pending.begin_scan(full)
        self._suspects = set()
        if full:
            self._ownership.begin_full_scan()
        for frame, sidecar in pairs(self._listing.full() if full else self._listing.incremental()):
            if self._closing:
                return
            if not self._is_ours(frame.key):
                continue
            replaces = self._torn(frame, sidecar) if first and not self._store.whole_sidecars else None
            if _is_there(sidecar) and replaces is None:
                self._ownership.check(frame, sidecar)
                self.pending.drop(frame.key)
                continue
            unknown = self.pending.observe(frame, self._is_sure(frame.key), replaces, listed=True)
            if unknown and not first and len(self._suspects) < _MAX_SUSPECTS:
                self._suspects.add(frame.key)
        for key in self.pending.unconfirmed(before=began):
            try:
                self.pending.observe(self._store.stat(key), sure=False)
            except (FrameGone, KeyRefused):
                self.pending.drop(key)
            except FrameUnreadable:  # it settles as it was listed
                pass
        if full:
            self._full_began = began

    def _is_sure(self, key: str) -> bool:
        """With hints, a frame that no hint told of is no news; without, only a second look tells that it is whole, where it
        may not be."""
        return self._store.whole_frames or (self._watch is not None and key not in self.pending)

    def _torn(self, frame: Entry, sidecar: Entry | None) -> bytes | None:
        """The bytes of a young sidecar that is torn: its writer died in the middle."""
        if sidecar is None or sidecar.size == 0 or time.time() - sidecar.modified > self._config.lookback_seconds:
            return None
        try:
            data = self._store.read_sidecar(frame.key)
        except KeyRefused:  # no regular file: nothing of ours, and said by the listing
            return None
        return data if data and is_torn(data) else None

    def _tend_watch(self) -> None:
        """Replace an observer that died, or that kept silent about what the last scan found."""
        if self._watch is None:
            return
        if not self._watch.is_alive():
            if self._watch.renew():
                logger.warning("the file-system observer had died: a new one listens")
        elif self._suspects and time.monotonic() - self._renewed > self._config.full_scan_seconds:
            self._renewed = time.monotonic()
            logger.warning("file-system events were missed (%d or more frames): scans found them", len(self._suspects))
            self._watch.renew()


def _is_there(sidecar: Entry | None) -> TypeGuard[Entry]:
    return sidecar is not None and sidecar.size > 0
