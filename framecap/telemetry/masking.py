"""A text in, the same text without the credentials in it out."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"

# What is secret in a text. A password may hold anything, @ : / and quotes too, so everything up to the last @ before white
# space goes; and, where a password may hold a space, everything up to the last @ before the next address. Whoever names a
# file may have made the text up, so the time is in proportion to it: each pattern looks a bounded way ahead, and the last @
# is looked for from behind.
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_USER = re.compile(r"[^\s/@:]*:")
_HOST = re.compile(r"@(?=[\w.-]{1,255}[:/])")
_USER_WITHOUT_ADDRESS = re.compile(r"\b[\w.%+-]{1,64}:(?!//)")
_PARAMETER = re.compile(
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|auth(?:orization)?|credential"
    r"|signature|sig|x-amz-[a-z-]{1,64})[\"']?\s*[=:]\s*"
    r"(?P<secret>(?:(?:bearer|basic|digest)\s+)?(?:\"[^\"\n]*\"|'[^'\n]*')?[^\s&]*)",
    re.IGNORECASE,
)


_SECRET_VARIABLE = re.compile(r"FRAMECAP__|AWS_|.*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)", re.IGNORECASE)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for child processes that need no credentials: they read what strangers have made."""
    return {name: value for name, value in environment.items() if not _SECRET_VARIABLE.match(name)}


def mask(text: str) -> str:
    """The text without the credentials in it: user and password of addresses, and values of password-like parameters.

    It rather hides too much than too little: what stands between an address and a later @ may go with the password.
    """
    parts, end = [], 0
    for begin, stop in sorted(_secrets(text)):
        if begin >= end:
            parts += [text[end:begin], MASK]
        end = max(end, stop)
    return "".join(parts) + text[end:]


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Where secrets begin and end."""
    if "@" in text:
        for word in _WORD.finditer(text):
            yield from _in_word(text, *word.span())
        yield from _with_spaces(text)
    for match in _PARAMETER.finditer(text):
        yield match.span("secret")


def _in_word(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """user:password of an address without white space, or without a scheme: that is no address, but somebody may type it."""
    at = text.rfind("@", begin, end)
    address = _ADDRESS.search(text, begin, at) if at >= 0 else None
    if address:
        yield address.end(), at
    hosts = [match.start() for match in _HOST.finditer(text, begin, end)]
    user = _USER_WITHOUT_ADDRESS.search(text, begin, hosts[-1]) if hosts else None
    if user and user.end() < hosts[-1]:
        yield user.start(), hosts[-1]


def _with_spaces(text: str) -> Iterator[tuple[int, int]]:
    """user:password of an address in which white space stands: up to the last @ of the line before the next address."""
    addresses = [match.span() for match in _ADDRESS.finditer(text)]
    starts = [start for start, _ in addresses] + [len(text)]
    for _, begin in addresses:
        user = _USER.match(text, begin)
        if user is None:
            continue
        until = starts[bisect_left(starts, user.end())]
        line = text.find("\n", user.end(), until)
        at = text.rfind("@", user.end(), until if line < 0 else line)
        if at >= 0:
            yield begin, at


def mask_all(value: Any) -> Any:
    """A value of JSON kinds (or anything else, as text) with every text in it masked."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {mask(str(key)): mask_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask_all(item) for item in value]
    return mask(str(value))
