"""Makes foreign names (a camera is any folder's name) safe as identifiers elsewhere, and keeps different names different."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_DIGEST = 8  # hexadecimal digits that tell changed names apart


@dataclass(frozen=True, slots=True)
class IdentifierRules:
    """What a place takes: `refused` matches each character that it does not, `longest` is in characters."""

    refused: re.Pattern[str]
    longest: int

    def identifier(self, name: str) -> str:
        """Return the name as it is where the place takes it, else a similar one with a digest of the name."""
        safe = self.refused.sub("-", name)
        if safe == name and 0 < len(name) <= self.longest:
            return name
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_DIGEST]
        return f"{safe[: self.longest - _DIGEST - 1]}-{digest}"


SQS_GROUP = IdentifierRules(re.compile(r"[^!-~]"), 128)  # MessageGroupId: letters, digits and punctuation of ASCII
MQTT_LEVEL = IdentifierRules(re.compile(r"[+#/\0]"), 1000)  # one level of a topic
