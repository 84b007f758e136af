"""Where frames and sidecars live: a local directory, a mounted directory; a configuration in, a store out.

The S3 API will be `stores/s3.py`, opened here for an `s3://` address.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.errors import ConfigError
from framecap.telemetry import mask

if TYPE_CHECKING:
    from framecap.config import StoreConfig
    from framecap.stores.base import Store
    from framecap.stores.tree import Tree

__all__ = ["open_store"]

logger = logging.getLogger(__name__)


def open_store(config: StoreConfig) -> Store:
    """The store of a configuration; its directories are created when they are not there. Raises ConfigError."""
    from framecap.stores.directory import DirectoryStore

    frames = _open_tree(config.frames, "store.frames")
    if config.sidecars is None:
        return DirectoryStore(frames)
    sidecars = _open_tree(config.sidecars, "store.sidecars")
    return DirectoryStore(frames) if sidecars.root == frames.root else DirectoryStore(frames, sidecars)


def _open_tree(address: str, setting: str) -> Tree:
    from framecap.stores.local import LocalTree
    from framecap.stores.mounted import MountedTree
    from framecap.stores.mounts import file_system_of

    if "://" in address:
        raise ConfigError(
            f"{setting}: {mask(address)!r}: this version reads and writes directories only: mount the bucket "
            "(s3fs, mountpoint-s3) and give the mount point"
        )
    try:
        path = Path(address).expanduser()
        if not path.exists():
            logger.info("%s: %s was not there, it is made now", setting, mask(str(path)))
        path.mkdir(parents=True, exist_ok=True)
        root = path.resolve(strict=True)
        return (MountedTree if file_system_of(root).remote else LocalTree)(root)
    except FileExistsError:
        raise ConfigError(f"{setting}: {mask(address)!r} is a file: give a directory") from None
    except RuntimeError:
        raise ConfigError(f"{setting}: {mask(address)!r}: there is no such user's home: write the directory out") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"{setting}: {mask(address)!r} cannot be opened or created ({reason}): give a directory that this user can write"
        ) from None
