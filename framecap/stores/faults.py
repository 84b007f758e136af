"""What the operating system says in, what the user can do about it out: OSError becomes StoreUnavailable, and is counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from framecap.errors import KeyRefused, StoreUnavailable
from framecap.telemetry import mask, store_errors

_ADVICE = {
    errno.ENOSPC: "free some space there, or choose another place",
    errno.EDQUOT: "free some of the quota there, or choose another place",
    errno.EROFS: "it is read-only: mount it for writing, or choose another place",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there; a mount may forbid it by its options",
    errno.ENOTCONN: "the mount has lost its program: mount it again",
    errno.ESTALE: "the server forgot this mount: mount it again",
    errno.EIO: "look at the disk or the mount (the system's log says more)",
    errno.ENOENT: "it was there before: mount or create it again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
}


def unavailable(error: OSError, operation: str, where: str) -> StoreUnavailable:
    """The error of a store that could not do `operation` at `where`; counted as such."""
    store_errors.labels(operation=operation).inc()
    advice = _ADVICE.get(error.errno or 0, "it is tried again")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return StoreUnavailable(f"cannot {operation} at {mask(where)[:300]!r}: {reason}: {advice}")


_OF_A_NAME = {
    errno.ENAMETOOLONG: "its name is too long for this file system: shorten it",
    errno.EILSEQ: "its name has characters that this file system refuses: rename it",
}


@contextmanager
def guarded(operation: str, where: str) -> Iterator[None]:
    """OSError of the block as StoreUnavailable, or as KeyRefused where it is about this one name."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_A_NAME:
            raise KeyRefused(f"cannot {operation} at {mask(where)[:300]!r}: {_OF_A_NAME[error.errno]}") from None
        raise unavailable(error, operation, where) from error
