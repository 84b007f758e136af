"""Nothing in; a process whose many threads share two heaps of the C library, so that its memory soon stays the same."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8  # of glibc's <malloc.h>
_HEAPS = 2


def share_malloc_arenas() -> None:
    """Before the threads start. glibc gives threads up to eight heaps for each core, and each keeps what it once held: a
    worker grew by 12 MB within ten minutes until all had. Other C libraries are left alone."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
