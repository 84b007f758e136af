"""An expression over one caption in (CEL, the Common Expression Language), whether it holds out.

CEL is no Python: it has no attributes, imports, files or loops without an end; it is type-checked before it runs, and its
regular expressions (RE2) take linear time.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from framecap.errors import ConfigError, MissingError

if TYPE_CHECKING:
    from framecap.events.event import Facts

logger = logging.getLogger(__name__)

_TYPES = {
    "caption": "STRING",
    "steady_caption": "STRING",
    "previous_caption": "STRING",
    "camera": "STRING",
    "key": "STRING",
    "status": "STRING",
    "error": "STRING",
    "model": "STRING",
    "confidence": "DOUBLE",
    "uncertain": "BOOL",
    "truncated": "BOOL",
    "time": "TIMESTAMP",
}
_ALLOWED = ", ".join(f"{name} ({kind.lower()})" for name, kind in _TYPES.items())
_SAMPLE: dict[str, Any] = {
    "STRING": "a dog",
    "DOUBLE": 0.5,
    "BOOL": False,
    "TIMESTAMP": datetime(2026, 11, 22, 10, tzinfo=UTC),
}


class Expression:
    """One expression, checked: a mistake in it is found when it is read, not when a dog comes."""

    def __init__(self, text: str, where: str) -> None:
        """Raises ConfigError, naming `where` and what is allowed, and MissingError without the package."""
        try:
            from cel_expr_python import cel
        except ImportError:
            raise MissingError(f"{where}: expressions need one more package: pip install 'framecap[events]'") from None
        self._where = where
        variables = {name: getattr(cel.Type, kind) for name, kind in _TYPES.items()}
        try:
            self._expression = cel.NewEnv(variables=variables).compile(text)
        except (RuntimeError, ValueError) as error:
            raise self._wrong(_first_line(str(error))) from None
        if self._expression.return_type() != cel.Type.BOOL:
            raise self._wrong(f"it is {self._expression.return_type().name().lower()}, and true or false is expected")
        self._complained = False
        try:
            found = self._value({name: _SAMPLE[kind] for name, kind in _TYPES.items()})
        except RuntimeError as error:  # such as a loop over too much
            raise self._wrong(_first_line(str(error))) from None
        if not isinstance(found, bool):  # such as a regular expression that is none
            raise self._wrong(_first_line(str(found)))

    def holds(self, facts: Facts) -> bool:
        """Whether it is true; what cannot be computed for this caption is not."""
        try:
            return self._value(facts.for_expressions()) is True
        except RuntimeError as error:  # too much work: the next caption may cost less
            if not self._complained:
                self._complained = True
                logger.warning(
                    "%s: it cannot be computed for %s, so it does not hold (said once): %s",
                    self._where,
                    facts.sidecar.frame.key,
                    _first_line(str(error)),
                )
            return False

    def _value(self, facts: dict[str, Any]) -> Any:
        return self._expression.eval(data=facts).value()

    def _wrong(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{self._where}: {reason}; there are {_ALLOWED}, and CEL's functions, such as "
            'caption.contains("dog") && confidence > 0.6'
        )


def _first_line(text: str) -> str:
    """What is wrong and where, without the drawing below it and the words around it."""
    line = text.partition("\n")[0]
    for prefix in ("INVALID_ARGUMENT: ", "INTERNAL: ", "ERROR: "):
        line = line.removeprefix(prefix)
    return line.replace("<input>:", "at ")
