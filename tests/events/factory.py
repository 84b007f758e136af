"""What the tests of events share: sidecars, facts and rules made of a few words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from framecap.config import EventsConfig, RuleConfig
from framecap.events.event import Event, Facts, Previous, make_event
from framecap.sidecars.reader import commit_id
from tests.sidecars.committing import NOON, make


def make_facts(
    caption: str | None = "A dog.", key: str = "door/1.jpg", at: datetime = NOON, previous: str | None = None, **more: Any
) -> Facts:
    """Without a caption the frame has failed."""
    one = make(key, at, caption, **more)
    before = None if previous is None else Previous("door/0.jpg", NOON, previous)
    return Facts(one, commit_id(one), before)


def an_event(number: int = 0, rule: str = "dog", **made: Any) -> Event:
    return make_event(rule, make_facts(key=f"door/{number}.jpg", **made), "/frames")


def one_rule(when: dict[str, Any] | None = None, do: list[dict[str, Any]] | None = None, name: str = "dog") -> RuleConfig:
    actions = do or [{"command": {"argv": ["true"]}}]
    return RuleConfig.model_validate({"name": name, "when": when or {}, "do": actions})


def settings(*rules: RuleConfig, **more: Any) -> EventsConfig:
    return EventsConfig(rules=rules, **{"retry_min_seconds": 0.05, "retry_max_seconds": 0.2, "timeout_seconds": 2.0, **more})
