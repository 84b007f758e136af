"""A store, rules and a state in; captions followed, events put into the outbox and delivered, until it is told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from framecap.config import ActionConfig, EventsConfig, IngestConfig, S3Config
from framecap.errors import StateUnavailable, StoreUnavailable
from framecap.events.action import Action
from framecap.events.delivery import Delivery
from framecap.events.event import Event, Facts, Previous, make_event
from framecap.events.rules import Rule, make_rules
from framecap.events.state import EventState
from framecap.runtime.stop import StopRequest
from framecap.sidecars.follower import Follower
from framecap.sidecars.reader import FoundSidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store
from framecap.telemetry import Heartbeat, events, health

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_HANGS_AFTER_SECONDS = 600.0
_LEAVE_SECONDS = 10.0  # for what is in flight at the end
_COARSE_SECONDS = (
    2.0  # a store's times may be whole seconds (S3), or lag a little: what seems just before the start is after
)


@dataclass(frozen=True, slots=True)
class Done:
    """Sidecars that were looked at, events that fired, and those that still wait."""

    looked_at: int
    fired: int
    waiting: int


def make_action(config: ActionConfig, events_config: EventsConfig, s3: S3Config, where: str) -> Action:
    """Raises ConfigError and MissingError."""
    timeout = events_config.timeout_seconds
    if config.webhook is not None:
        from framecap.events.webhook import Webhook

        return Webhook(config.webhook, timeout, where)
    if config.mqtt is not None:
        from framecap.events.mqtt import Mqtt

        return Mqtt(config.mqtt, timeout, where)
    if config.command is not None:
        from framecap.events.command import Command

        return Command(config.command)
    from framecap.events.aws import AwsMessages

    messages = config.sns or config.sqs
    assert messages is not None, "an action is exactly one of them"
    return AwsMessages(messages, s3, timeout, where)


def action_names(config: EventsConfig) -> Iterator[tuple[str, str, ActionConfig]]:
    """Each action with its rule and a name of its own, that stays when other rules or actions come or go."""
    for rule in config.rules:
        kinds: list[str] = []
        for action in rule.do:
            kinds.append(action.kind)
            number = kinds.count(action.kind)
            yield rule.name, f"{rule.name}/{action.kind}{f'-{number}' if number > 1 else ''}", action


class RuleWatcher:
    """What each caption sets off: the rules, asked about it in the light of what their state knows of its camera."""

    def __init__(self, config: EventsConfig, address: str, state: EventState) -> None:
        """Raises ConfigError and MissingError."""
        self._rules = make_rules(config)
        self._max_age = config.max_age_seconds
        self._address = address
        self._state = state

    def fired(self, found: FoundSidecar) -> list[Event]:
        """The events of a sidecar; the state then knows that its camera showed this."""
        facts = self._facts(found)
        matched = [rule for rule in self._rules if rule.matches(facts)] if self._is_young(found.sidecar) else []
        made = [make_event(rule.name, facts, self._address) for rule in matched if self._cooldown_elapsed(rule, facts)]
        self._remember(facts)
        return made

    def ignore(self, found: FoundSidecar) -> None:
        """It sets nothing off, and is what its camera showed before all the same."""
        self._remember(self._facts(found))

    def _facts(self, found: FoundSidecar) -> Facts:
        previous = self._state.previous(found.sidecar.frame.camera)
        if previous is not None and previous.captured_at > datetime.now(UTC):
            previous = None
        return Facts(found.beside_its_frame(), found.id, previous)

    def _is_young(self, sidecar: Sidecar) -> bool:
        return self._max_age is None or time.time() - sidecar.frame.captured_at.timestamp() <= self._max_age

    def _cooldown_elapsed(self, rule: Rule, facts: Facts) -> bool:
        if rule.cooldown is None:
            return True
        last = self._state.last_match(rule.name, facts.camera)
        if last is not None and last > datetime.now(UTC):
            last = None
        at = _not_after_now(facts.captured_at)
        if last is None or at > last:
            self._state.set_last_match(rule.name, facts.camera, at)
        return last is None or at - last >= rule.cooldown

    def _remember(self, facts: Facts) -> None:
        one, previous, at = facts.sidecar, facts.previous, _not_after_now(facts.captured_at)
        if one.caption is not None and (previous is None or at > previous.captured_at):
            self._state.set_previous(facts.camera, Previous(one.frame.key, at, one.caption))


def _not_after_now(at: datetime) -> datetime:
    """A frame of the future (a clock was wrong) must not silence its camera until then."""
    return min(at, datetime.now(UTC))


class Engine:
    """Follows a store and delivers."""

    def __init__(self, config: EventsConfig, s3: S3Config, ingest: IngestConfig, store: Store, state: EventState) -> None:
        """Raises ConfigError and MissingError."""
        self._store = store
        self._state = state
        self._pause = ingest.scan_seconds
        self._watch = RuleWatcher(config, store.address, state)
        self._began = state.begin(time.time() - _COARSE_SECONDS)
        self._follower = Follower(store, state, ingest)
        self._deliveries: dict[str, list[Delivery]] = {}
        for rule, name, action in action_names(config):
            delivery = Delivery(name, rule, make_action(action, config, s3, f"rule {rule!r}: {action.kind}"), state, config)
            self._deliveries.setdefault(rule, []).append(delivery)
        self._all = [delivery for some in self._deliveries.values() for delivery in some]
        self._looked_at = self._fired = 0
        self._away: str | None = None
        self._heartbeat = Heartbeat("the follower", _HANGS_AFTER_SECONDS)

    def run(self, stop: StopRequest, once: bool) -> Done:
        """Until `stop` is set; with `once` until all that is there was looked at, and delivered or found undeliverable."""
        self._warn_about_undelivered()
        with health.watching(alive=[self._heartbeat.problem], ready=[lambda: self._away]), self._delivering():
            while not stop.is_set():
                self._look(stop)
                if once and self._away is None:
                    break
                self._wait(stop, self._pause)
            while once and not stop.is_set() and not all(delivery.idle() for delivery in self._all):
                self._wait(stop, _POLL_SECONDS)
        waiting = sum(self._state.count(delivery.name)[0] for delivery in self._all)
        return Done(self._looked_at, self._fired, waiting)

    @contextmanager
    def _delivering(self) -> Iterator[None]:
        for delivery in self._all:
            delivery.start()
        try:
            yield
        finally:
            for delivery in self._all:
                delivery.stop()
            end = time.monotonic() + _LEAVE_SECONDS
            for delivery in self._all:
                delivery.join(max(0.0, end - time.monotonic()))  # what is longer in flight is delivered again, next time

    def _look(self, stop: StopRequest) -> None:
        self._heartbeat.beat()
        try:
            for found in self._follower.poll(self._heartbeat.beat):
                if stop.is_set():
                    return
                self._take(found)
                self._heartbeat.beat()
        except (StoreUnavailable, StateUnavailable) as error:
            if self._away is None:
                logger.warning("%s", error)
            self._away = str(error)
        else:
            self._away = None

    def _take(self, found: FoundSidecar) -> None:
        """Look at one sidecar: that it was looked at, and what it set off, is one transaction."""
        with self._state.transaction():
            made: list[Event] = []
            if found.modified < self._began:
                self._watch.ignore(found)
            else:
                made = self._watch.fired(found)
            now = time.time()
            for event in made:
                for delivery in self._deliveries[event.rule]:
                    self._state.put(delivery.name, event, now)
            self._follower.done(found)
        self._looked_at += 1
        self._fired += len(made)
        for event in made:
            events.labels(event.rule, "fired").inc()
            for delivery in self._deliveries[event.rule]:
                delivery.wake()

    def _wait(self, stop: StopRequest, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < end:
            time.sleep(min(_POLL_SECONDS, seconds))

    def _warn_about_undelivered(self) -> None:
        names = {delivery.name for delivery in self._all}
        for name in self._state.actions():
            if name not in names:
                count, _ = self._state.count(name)
                logger.warning("%d events wait for %s, which the configuration has no more", count, name)
