"""A text in, the same text without the credentials in it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

# What is secret in a text. A password may hold anything, @ : / and quotes too, so everything up to the last @ before white
# space goes; and, where a password may hold a space, everything up to the last @ before the next address.
_SECRETS = (
    re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://(?P<secret>\S*)@", re.IGNORECASE),
    re.compile(
        r"\b[a-z][a-z0-9+.-]{0,20}://(?P<secret>[^\s/@:]*:(?:(?!\b[a-z][a-z0-9+.-]{0,20}://).)*)@",
        re.IGNORECASE,
    ),
    # user:password@host without a scheme is no address, but somebody may type it
    re.compile(r"(?P<secret>\b[\w.%+-]{1,64}:(?!//)\S+)@(?=[\w.-]+[:/])"),
    re.compile(
        r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|auth(?:orization)?|credential"
        r"|signature|sig|x-amz-[a-z-]+)[\"']?\s*[=:]\s*"
        r"(?P<secret>(?:(?:bearer|basic|digest)\s+)?(?:\"[^\"\n]*\"|'[^'\n]*')?[^\s&]*)",
        re.IGNORECASE,
    ),
)


def mask(text: str) -> str:
    """The text without the credentials in it: user and password of addresses, and values of password-like parameters.

    It rather hides too much than too little: what stands between an address and a later @ may go with the password.
    """
    parts, end = [], 0
    for begin, stop in sorted(match.span("secret") for pattern in _SECRETS for match in pattern.finditer(text)):
        if begin >= end:
            parts += [text[end:begin], MASK]
        end = max(end, stop)
    return "".join(parts) + text[end:]


def mask_all(value: Any) -> Any:
    """A value of JSON kinds (or anything else, as text) with every text in it masked."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {mask(str(key)): mask_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask_all(item) for item in value]
    return mask(str(value))
