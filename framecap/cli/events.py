"""`framecap events`: a store and rules in; their events delivered, shown, listed or put back, and an exit code, out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from framecap.app import parts
from framecap.app.console import printable
from framecap.config import Config
from framecap.errors import ConfigError
from framecap.events.engine import Engine, RuleWatcher, action_names
from framecap.events.state import EventState, WaitingEvent
from framecap.runtime.signals import stop_on_signals
from framecap.sidecars.reader import SidecarReader
from framecap.stores.base import Store
from framecap.telemetry import mask, mask_all, set_up_logging

logger = logging.getLogger(__name__)


def events(config: Config, once: bool) -> int:
    """Follow and deliver; with `once` what is there."""
    store = _start(config)
    with _state(config, store) as state, stop_on_signals() as stop, parts.served(config.telemetry):
        state.own()
        engine = Engine(config.events, config.store.s3, config.ingest, store, state)
        names = [name for _, name, _ in action_names(config.events)]
        logger.info("following the sidecars in %s: %s", store.address, ", ".join(names))
        done = engine.run(stop, once)
    logger.info("%d sidecars looked at, %d events fired, %d deliveries wait", done.looked_at, done.fired, done.waiting)
    return 1 if once and done.waiting else 0


def test(config: Config, rule: str | None) -> int:
    """Print the events that the sidecars there would have made."""
    store = _start(config)
    rules = tuple(one for one in config.events.rules if rule in (None, one.name))
    if not rules:
        names = ", ".join(one.name for one in config.events.rules)
        raise ConfigError(f"--test: no rule is named {rule!r}; there are: {names}")
    with tempfile.TemporaryDirectory() as folder:
        state = EventState(Path(folder), store.address)
        watch = RuleWatcher(config.events.model_copy(update={"rules": rules}), store.address, state)
        for found in SidecarReader(store).all():
            for event in watch.fired(found):
                print(_for_people(event.body) if sys.stdout.isatty() else event.body.decode())
        state.close()
    return 0


def dead(config: Config) -> int:
    """Print the events that were given up."""
    with _state(config, _start(config)) as state:
        for waiting in state.dead():
            print(_dead_for_people(waiting) if sys.stdout.isatty() else _dead_for_machines(waiting))
    return 0


def requeue(config: Config) -> int:
    """Let the events that were given up be delivered, by the framecap events that runs or the next that does."""
    with _state(config, _start(config)) as state:
        count = state.requeue(time.time())
    print(f"{count} events wait for delivery again" if sys.stdout.isatty() else json.dumps({"requeued": count}))
    return 0


def _start(config: Config) -> Store:
    set_up_logging(config.log.level, config.log.format)
    if not config.events.rules:
        raise ConfigError("events.rules: there are none: write some to config.yaml (docs/events.md shows how)")
    return parts.existing_store(config.store)


@contextmanager
def _state(config: Config, store: Store) -> Iterator[EventState]:
    state = EventState(_folder(config, store), store.address)
    try:
        yield state
    finally:
        state.close()


def _folder(config: Config, store: Store) -> Path:
    """Where the state is: by default every store has a folder of its own below the user's state directory."""
    try:
        if config.events.state is not None:
            return Path(config.events.state).expanduser()
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError:
        raise ConfigError("events.state: this user has no home directory: give a directory on a local disk") from None
    return home / "framecap" / "events" / hashlib.sha256(store.address.encode()).hexdigest()[:12]


def _for_people(body: bytes) -> str:
    event = json.loads(body)
    what = event["caption"] or event["status"]
    return printable(f"{event['rule']}  {event['camera']}  {event['time']}  {what}")


def _dead_for_people(waiting: WaitingEvent) -> str:
    died = datetime.fromtimestamp(waiting.died or 0.0, UTC).isoformat(timespec="seconds")
    tries = f"{waiting.attempts} tries" if waiting.attempts != 1 else "1 try"
    return mask(printable(f"{waiting.action}  given up {died} after {tries}: {waiting.error}  ({waiting.event.id})"))


def _dead_for_machines(waiting: WaitingEvent) -> str:
    line = {
        "action": waiting.action,
        "fired": datetime.fromtimestamp(waiting.created, UTC).isoformat(timespec="milliseconds"),
        "given_up": datetime.fromtimestamp(waiting.died or 0.0, UTC).isoformat(timespec="milliseconds"),
        "attempts": waiting.attempts,
        "error": waiting.error,
        "event": json.loads(waiting.event.body),
    }
    return json.dumps(mask_all(line), ensure_ascii=False)
