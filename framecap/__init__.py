"""framecap: frames in, one JSON caption sidecar per frame out, losing nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framecap.errors import FramecapError
    from framecap.sidecars.read_sidecars import read_sidecars
    from framecap.sidecars.sidecar import Sidecar

__version__ = "0.1.0"
__all__ = ["FramecapError", "Sidecar", "__version__", "read_sidecars"]

_HOMES = {
    "FramecapError": "framecap.errors",
    "Sidecar": "framecap.sidecars.sidecar",
    "read_sidecars": "framecap.sidecars.read_sidecars",
}


def __getattr__(name: str) -> Any:
    """The public names are imported when they are first used, so that `import framecap` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'framecap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
