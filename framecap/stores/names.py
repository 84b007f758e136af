"""Names in, whether a listing shows them out; the same rules for directories and buckets."""

from __future__ import annotations

import logging
import re

from framecap.errors import KeyRefused
from framecap.frames import FRAME_SUFFIXES, MAX_NAME_BYTES, SIDECAR_SUFFIX, check_key, frame_key_of
from framecap.telemetry import mask

logger = logging.getLogger(__name__)

MAX_REMEMBERED_REFUSALS = 1000

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")


class Refusals:
    """What is skipped of listings, each said once in the log, a thousand of them at most."""

    def __init__(self) -> None:
        self._logged: set[int] = set()

    def say(self, key: str, reason: str) -> None:
        """Say once why a key is skipped."""
        mark = hash(key)
        if mark in self._logged or len(self._logged) > MAX_REMEMBERED_REFUSALS:
            return
        self._logged.add(mark)
        if len(self._logged) > MAX_REMEMBERED_REFUSALS:
            logger.warning("more than %d names are skipped: no more of them are logged", MAX_REMEMBERED_REFUSALS)
        else:
            logger.warning("skipped: %s: %s", mask(ascii(key[:200])), reason)

    def accepts(self, folder: str, name: str) -> bool:
        """Whether a key can be made of a folder (with its final `/`) and a name (a folder's ends in `/`); if not, said."""
        if _PLAIN_NAME.fullmatch(name.removesuffix("/")) and len(folder) + len(name) < MAX_NAME_BYTES:
            return True
        key = folder + name
        try:
            check_key(f"{key}0{FRAME_SUFFIXES[0]}" if key.endswith("/") else frame_key_of(key) or key)
        except KeyRefused as error:
            self.say(key, str(error))
            return False
        return True


def is_sidecar(name: str) -> bool:
    return name.endswith(SIDECAR_SUFFIX) and is_listed(name)


def is_listed(name: str) -> bool:
    """Whether a name is a frame's (its suffix in any case) or a sidecar's (written by us, so in small letters)."""
    return name.removesuffix(SIDECAR_SUFFIX).lower().endswith(FRAME_SUFFIXES)


def leads_on(folder: str, prefix: str, after: str) -> bool:
    """Whether keys below a folder (with its final `/`) can start with the prefix and sort after the mark."""
    return (folder.startswith(prefix) or prefix.startswith(folder)) and (folder > after or after.startswith(folder))
