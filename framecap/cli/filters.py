"""What a person chooses by --camera, --since and --until in; a choice that can be read, or what is wrong with it, out."""

from __future__ import annotations

from datetime import UTC, datetime

from framecap.config.fields import as_iso_time
from framecap.errors import ConfigError
from framecap.frames import UNSORTED
from framecap.sidecars.reader import SidecarFilter, sidecars
from framecap.stores.base import Entry, Store
from framecap.upkeep.prune import time_before

_SHOWN_CAMERAS = 10


def parse_time(text: str | None, flag: str) -> datetime | None:
    """An ISO 8601 time (without a zone it is UTC), or an age such as 2h, as a time; None for None. Raises ConfigError."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(str(as_iso_time(text))).astimezone(UTC)
    except ValueError:
        pass
    try:
        return time_before(text)
    except ConfigError:
        raise ConfigError(
            f"{flag}: {text!r}: a time is expected, such as 2026-11-22 or 2026-11-22T10:00 (UTC), or an age such as 2h"
        ) from None


def sidecar_filter(store: Store, camera: str | None, since: str | None, until: str | None) -> SidecarFilter:
    """Raises ConfigError for times that are none, and for a camera that is not in the store."""
    chosen = SidecarFilter(camera, parse_time(since, "--since"), parse_time(until, "--until"))
    if camera is not None and not _has(store, camera):
        raise ConfigError(f"--camera: there are no sidecars of {camera!r} here; {_there_are(cameras(store))}")
    return chosen


def known_camera(store: Store, camera: str | None) -> None:
    """Raises ConfigError for a camera that has no folder in the store; whether its frames have sidecars does not matter."""
    if camera is not None and camera not in (there := _folders(store)):
        raise ConfigError(f"--camera: there is nothing of {camera!r} here; {_there_are(sorted(there))}")


def only_camera(store: Store) -> str | None:
    """The camera, where there is but one; None where there is none. Raises ConfigError for several."""
    there = cameras(store)
    if len(there) > 1:
        raise ConfigError(f"--camera: this is made of one camera's captions; {_there_are(there)}")
    return there[0] if there else None


def cameras(store: Store) -> list[str]:
    """Those that have sidecars."""
    return sorted(name for name in _folders(store) if _has(store, name))


def _folders(store: Store) -> set[str]:
    return {UNSORTED if isinstance(item, Entry) else item.removesuffix("/") for item in store.top()}


def _has(store: Store, camera: str) -> bool:
    if next(sidecars(store.list(prefix=f"{camera}/")), None) is not None:
        return True
    return camera == UNSORTED and any(sidecars(item for item in store.top() if isinstance(item, Entry)))


def _there_are(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_CAMERAS} more" if len(names) > _SHOWN_CAMERAS else ""
    return f"there are: {', '.join(names[:_SHOWN_CAMERAS])}{more}" if names else "there are none at all"
