"""A process that dies while it commits. Run as `python -m tests.stores.killed MODE KIND ROOT`, or with a bucket (see below).

`steps` commits in children that are killed before their first, second, ... system call, from an absent, an empty and an
existing (replaced) sidecar, and prints one JSON line per death. `forever` commits one sidecar after the other until killed.
`answers ADDRESS SERVER` is `steps` in a bucket: killed before it hears the first, second, ... answer. `everything` has more
steps: see die_at.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framecap.config import S3Config
from framecap.stores.base import CommitResult, Store
from framecap.stores.combined import CombinedStore
from framecap.stores.directory import DirectoryStore
from framecap.stores.local_backend import LocalBackend
from framecap.stores.mount_backend import MountBackend
from framecap.stores.s3 import S3Backend, Server
from framecap.stores.s3_client import make_client, parse_address

KEY = "cam/a.jpg"
OLD = b'{"status": "old", "frame": {}}'
NEW = b'{"status": "new", "frame": {}, "caption": "%s"}' % (b"a dog " * 20_000)
CALLS = ("open", "write", "fsync", "link", "unlink", "close", "stat", "rename", "mkdir", "read", "fstat")


def store_of(kind: str, root: Path) -> DirectoryStore:
    return DirectoryStore({"local": LocalBackend, "mounted": MountBackend}[kind](root))


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


def commit(store: Store, before: str, new: bytes = NEW) -> CommitResult:
    if before == "existing":
        return store.replace_sidecar(KEY, new, if_match=OLD)
    return store.commit_sidecar(KEY, new)


def steps(kind: str, root: Path) -> None:
    for before, content in (("absent", None), ("empty", b""), ("existing", OLD)):
        call = 0
        died = True
        while died:
            call += 1
            location = root / before / str(call)
            (location / "cam").mkdir(parents=True)
            sidecar = location / f"{KEY}.json"
            if content is not None:
                sidecar.write_bytes(content)
            child = os.fork()
            if child == 0:
                store = store_of(kind, location)
                die_before(call)
                commit(store, before)
                os._exit(0)
            died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            found = sidecar.read_bytes() if sidecar.exists() else b""
            state = {OLD: "old", NEW: "new", b"": "absent"}.get(found, "torn")
            listed = [entry.key for entry in store_of(kind, location).list()]
            again = commit(store_of(kind, location), before if found == OLD else "absent").name
            print(
                json.dumps({"before": before, "call": call, "died": died, "state": state, "again": again, "listed": listed})
            )


def die_at(step: int, everything: bool) -> None:
    """From now on the process kills itself at that step of its talk with a server: before it hears an answer.

    `everything`: also before it sends a piece, in the middle of it, and before it hears any piece of an answer.
    """
    steps = 0
    asked = False
    send, hear = socket.socket.sendall, socket.socket.recv_into

    def dies() -> bool:
        nonlocal steps
        steps += 1
        return steps == step

    def send_or_die(connection: Any, data: bytes, *rest: Any) -> Any:
        nonlocal asked
        asked = True
        if everything and dies():
            os.kill(os.getpid(), signal.SIGKILL)
        if everything and dies():
            send(connection, data[: len(data) // 2], *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return send(connection, data, *rest)

    def hear_or_die(*arguments: Any) -> Any:
        nonlocal asked
        if (everything or asked) and dies():
            os.kill(os.getpid(), signal.SIGKILL)
        asked = False
        return hear(*arguments)

    socket.socket.sendall = send_or_die  # type: ignore[method-assign]
    socket.socket.recv_into = hear_or_die  # type: ignore[method-assign]


def in_bucket(everything: bool, address: str, server: str) -> None:
    config = S3Config(endpoint=server, path_style=True)
    client = make_client(config)
    known = Server("https://s3.amazonaws.com")  # honours conditions, as the server of the tests does
    new = NEW[:5000]
    for before, content in (("absent", b""), ("empty", b""), ("existing", OLD)):
        step = 0
        died = True
        while died:
            step += 1
            location = parse_address(f"{address}{before}/{step}")
            store = CombinedStore(S3Backend(client, location, config, known))
            if before != "absent":
                client.put_object(Bucket=location.bucket, Key=f"{location.prefix}{KEY}.json", Body=content)
            client.close()  # its connections: the child takes its own
            child = os.fork()
            if child == 0:
                die_at(step, everything)
                commit(store, before, new)
                os._exit(0)
            died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            found = store.read_sidecar(KEY) or b""
            state = {OLD: "old", new: "new", b"": "absent"}.get(found, "torn")
            again = commit(store, before if found == OLD else "absent", new).name
            whole = store.read_sidecar(KEY) == new
            death = {"before": before, "step": step, "died": died, "state": state, "again": again, "whole": whole}
            print(json.dumps(death), flush=True)


def forever(kind: str, root: Path) -> None:
    store = store_of(kind, root)
    number = 0
    while True:
        if store.commit_sidecar(f"cam/{number}.jpg", NEW) is CommitResult.COMMITTED:
            print(number, flush=True)
        number += 1


if __name__ == "__main__":
    mode, first, second = sys.argv[1:]
    if mode in ("answers", "everything"):
        in_bucket(mode == "everything", first, second)
    else:
        {"steps": steps, "forever": forever}[mode](first, Path(second))
