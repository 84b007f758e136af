"""Where frames and sidecars live: a local directory, a mounted directory, a bucket; a configuration in, a store out."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.errors import ConfigError
from framecap.stores.s3_client import is_s3
from framecap.telemetry import mask

if TYPE_CHECKING:
    from framecap.config import StoreConfig
    from framecap.stores.base import Store
    from framecap.stores.combined import Backend
    from framecap.stores.directory_backend import DirectoryBackend

__all__ = ["open_store"]

logger = logging.getLogger(__name__)


def open_store(config: StoreConfig, lenient: bool = False, new_store: int = logging.INFO) -> Store:
    """The store of a configuration; directories are created when they are not there, buckets are looked at.

    Frames and sidecars may be in places of different kinds. `lenient` is for who only writes, and waits for a store that is
    away: that a bucket does not answer, or may not be listed, is only said in the log. `new_store` is the level at which the
    log says that a directory was made. Raises ConfigError, MissingError (no credentials) and StoreUnavailable.
    """
    from framecap.stores.combined import CombinedStore

    frames, *others = _open_backends(config, lenient, new_store)
    same = all((other.address, other.directory) == (frames.address, frames.directory) for other in others)
    return CombinedStore(frames) if same else CombinedStore(frames, *others)


def _open_backends(config: StoreConfig, lenient: bool, new_store: int) -> list[Backend]:
    """The place of the frames, and that of the sidecars if it is given. Buckets share one client."""
    wanted = {"store.frames": config.frames, "store.sidecars": config.sidecars}
    addresses = {setting: address for setting, address in wanted.items() if address is not None}
    if not any(is_s3(address) for address in addresses.values()):
        return [_open_tree(address, setting, new_store) for setting, address in addresses.items()]

    from framecap.stores.s3 import S3  # not for directories: boto3 takes its time to import

    s3 = S3(config.s3, {setting: address for setting, address in addresses.items() if is_s3(address)})
    return [
        s3.open(setting, lenient) if is_s3(address) else _open_tree(address, setting, new_store)
        for setting, address in addresses.items()
    ]


def _open_tree(address: str, setting: str, new_store: int) -> DirectoryBackend:
    from framecap.stores.local_backend import LocalBackend
    from framecap.stores.mount_backend import MountBackend
    from framecap.stores.mounts import file_system_of

    if "://" in address:
        raise ConfigError(f"{setting}: {mask(address)!r}: a directory, or s3://bucket/prefix, is expected")
    try:
        path = Path(address).expanduser()
        if not path.exists():
            logger.log(new_store, "%s: %s was not there, it is made now", setting, mask(str(path)))
        path.mkdir(parents=True, exist_ok=True)
        root = path.resolve(strict=True)
        return (MountBackend if file_system_of(root).remote else LocalBackend)(root)
    except FileExistsError:
        raise ConfigError(f"{setting}: {mask(address)!r} is a file: give a directory") from None
    except RuntimeError:
        raise ConfigError(f"{setting}: {mask(address)!r}: there is no such user's home: write the directory out") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"{setting}: {mask(address)!r} cannot be opened or created ({reason}): give a directory that this user can write"
        ) from None
