"""Keys of config.yaml that have another name by now."""

from __future__ import annotations

import re

RENAMED_KEYS = {  # old dotted key: new dotted key; the numbers of a list's items are left away
    "ingest.look_back_seconds": "ingest.lookback_seconds",
    "events.rules.when.quiet_minutes": "events.rules.when.cooldown_minutes",
}


def new_name(key: str) -> str | None:
    """The dotted key that replaced `key`; None: it is no old key."""
    return RENAMED_KEYS.get(re.sub(r"\.\d+(?=\.)", "", key.lower()))
