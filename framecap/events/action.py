"""What an action is, and the secrets of its settings: one event in, delivered or an error out."""

from __future__ import annotations

import os
import re
from typing import Protocol

from pydantic import SecretStr

from framecap.errors import ConfigError
from framecap.events.event import Event

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Action(Protocol):
    """Delivers to one endpoint, one event at a time, and gives up by itself after a time-out."""

    @property
    def target(self) -> str:
        """Where it delivers to, without secrets."""
        ...

    def deliver(self, event: Event) -> None:
        """Raises EndpointUnavailable when no event can be delivered just now, EventRefused when this one cannot."""
        ...

    def close(self) -> None: ...

    def abort(self) -> None:
        """From another thread: end the delivery in flight, where it would outlive this process."""
        ...


def reveal(secret: SecretStr | None, where: str) -> str | None:
    """The text of a secret, `${NAME}` in it replaced by that variable of the environment. Raises ConfigError."""
    if secret is None:
        return None

    def value(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ConfigError(f"{where}: there is no variable {match[1]} in the environment") from None

    return _VARIABLE.sub(value, secret.get_secret_value())
