"""The rules of a configuration in, checked and ready to be asked whether a caption meets them, out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from framecap.config import EventsConfig, RuleConfig, WhenConfig
from framecap.errors import ConfigError
from framecap.events.event import Facts
from framecap.events.expression import Expression


class Rule:
    """One rule, ready to be asked."""

    def __init__(self, config: RuleConfig) -> None:
        """Raises ConfigError for what only its use can check, and MissingError."""
        when = config.when
        where = f"rule {config.name!r}"
        self.name = config.name
        self.cooldown = None if when.cooldown_minutes is None else timedelta(minutes=when.cooldown_minutes)
        self._when = when
        self._words = any_of(when.words)
        self._hours = None if when.between is None else _Hours.of(when, where)
        self._expression = None if when.expression is None else Expression(when.expression, f"{where}: expression")

    def matches(self, facts: Facts) -> bool:
        """Whether everything holds that its `when` asks for, but for the quiet before."""
        when, one = self._when, facts.sidecar
        return (
            one.status in when.statuses
            and (not when.cameras or any(fnmatchcase(facts.camera, pattern) for pattern in when.cameras))
            and (when.confidence is None or (one.confidence or 0.0) >= when.confidence)
            and (self._words is None or self._words.search(one.caption or "") is not None)
            and (self._hours is None or self._hours.hold(facts.captured_at))
            and (self._expression is None or self._expression.holds(facts))
        )


def make_rules(config: EventsConfig) -> list[Rule]:
    """Raises ConfigError, naming the rule, and MissingError."""
    return [Rule(rule) for rule in config.rules]


def any_of(words: tuple[str, ...]) -> re.Pattern[str] | None:
    """Any of some words or phrases, whole: `dog` is not in `hotdogs`, and `riding a  bike` spans any white space."""
    if not words:
        return None
    phrases = (r"\s+".join(map(re.escape, phrase.split())) for phrase in words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Hours:
    """A part of the day, which may go over midnight."""

    begin: time
    end: time
    zone: ZoneInfo | None

    @staticmethod
    def of(when: WhenConfig, where: str) -> _Hours:
        begin, _, end = (when.between or "").partition("-")
        try:
            zone = None if when.time_zone is None else ZoneInfo(when.time_zone)
        except (KeyError, ValueError, OSError):  # not found is a KeyError, a directory an OSError
            raise ConfigError(
                f"{where}: time_zone: {when.time_zone!r} is not known here: a name such as Europe/Berlin is expected (where "
                "the system knows none: pip install tzdata)"
            ) from None
        return _Hours(time.fromisoformat(begin), time.fromisoformat(end), zone)

    def hold(self, at: datetime) -> bool:
        local = at.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end
