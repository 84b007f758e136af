"""A process that dies while it commits. Run as `python -m tests.stores.killed MODE KIND ROOT`.

`steps` commits in children that are killed before their first, second, ... system call, from an absent, an empty and an
existing (replaced) sidecar, and prints one JSON line per death. `forever` commits one sidecar after the other until killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framecap.stores.base import Commit
from framecap.stores.directory import DirectoryStore
from framecap.stores.local import LocalTree
from framecap.stores.mounted import MountedTree

KEY = "cam/a.jpg"
OLD = b'{"status": "old"}'
NEW = b'{"status": "new", "caption": "%s"}' % (b"a dog " * 20_000)
CALLS = ("open", "write", "fsync", "link", "unlink", "close", "stat", "rename", "mkdir", "read", "fstat")


def store_of(kind: str, root: Path) -> DirectoryStore:
    return DirectoryStore({"local": LocalTree, "mounted": MountedTree}[kind](root))


def die_before(call: int) -> None:
    """From now on the process kills itself before that system call."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call_or_die(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call_or_die

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def commit(store: DirectoryStore, before: str) -> Commit:
    if before == "existing":
        return store.replace_sidecar(KEY, NEW, if_match=OLD)
    return store.commit_sidecar(KEY, NEW)


def steps(kind: str, root: Path) -> None:
    for before, content in (("absent", None), ("empty", b""), ("existing", OLD)):
        call = 0
        died = True
        while died:
            call += 1
            place = root / before / str(call)
            (place / "cam").mkdir(parents=True)
            sidecar = place / f"{KEY}.json"
            if content is not None:
                sidecar.write_bytes(content)
            child = os.fork()
            if child == 0:
                store = store_of(kind, place)
                die_before(call)
                commit(store, before)
                os._exit(0)
            died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            found = sidecar.read_bytes() if sidecar.exists() else b""
            state = {OLD: "old", NEW: "new", b"": "absent"}.get(found, "torn")
            listed = [entry.key for entry in store_of(kind, place).list()]
            again = commit(store_of(kind, place), before if found == OLD else "absent").name
            print(
                json.dumps({"before": before, "call": call, "died": died, "state": state, "again": again, "listed": listed})
            )


def forever(kind: str, root: Path) -> None:
    store = store_of(kind, root)
    number = 0
    while True:
        if store.commit_sidecar(f"cam/{number}.jpg", NEW) is Commit.COMMITTED:
            print(number, flush=True)
        number += 1


if __name__ == "__main__":
    {"steps": steps, "forever": forever}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
