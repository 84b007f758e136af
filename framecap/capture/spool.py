"""Frames on local disk while the store is away: captured frames in, the same frames in the same order out, later or after a
restart. One folder for each camera, one file for each frame, together at most `max_bytes`.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from framecap import telemetry
from framecap.capture import spool_file
from framecap.capture.captured import CapturedFrame
from framecap.capture.spool_file import DamagedSpoolFile
from framecap.config import SpoolConfig
from framecap.errors import ConfigError
from framecap.frames import camera_name, make_key
from framecap.stores.directory_backend import sync_folder
from framecap.stores.mounts import file_system_of

_LOCK = ".lock"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL_NO_MORE = 0.5  # of max_bytes: said again only after it was this far from full
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this machine: they say nothing of a file

logger = logging.getLogger(__name__)

Dropped = Callable[[str, int], None]  # hears why, and how many


def open_spool(config: SpoolConfig, drops_oldest: bool, store: Path | None) -> Spool | None:
    """The configured spool, None where there is none; `store` is the store's directory. Raises ConfigError."""
    if config.directory is None:
        return None
    setting = f"capture.spool.directory: {telemetry.mask(config.directory)!r}"
    try:
        path = Path(config.directory).expanduser()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = path.resolve(strict=True)
        _check_folder(root, store, setting)
        if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return Spool(root, config.max_bytes, drops_oldest)
    except FileExistsError:
        raise ConfigError(f"{setting} is a file: give a directory") from None
    except RuntimeError:
        raise ConfigError(f"{setting}: there is no such user's home: write the directory out") from None
    except BlockingIOError:
        raise ConfigError(f"{setting} is another running capture's: give each a directory of its own") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"{setting} cannot be opened or created ({reason}): give a directory that this user can write"
        ) from None


def _check_folder(root: Path, store: Path | None, setting: str) -> None:
    address = file_system_of(root)
    if address.remote:
        raise ConfigError(
            f"{setting} is on {address.type} mounted at {address.mount_point!r}, which may be away just when the store is: "
            "give a directory on a disk of this machine"
        )
    if store is not None and (root.is_relative_to(store) or store.is_relative_to(root)):
        raise ConfigError(
            f"{setting} and the store's directory lie one in the other, and what is in one would be taken for the other's: "
            "give the spool a place of its own"
        )


class Spool:
    """All cameras' frames below one directory. Safe to use from several threads; one process has it at a time."""

    def __init__(self, root: Path, max_bytes: int, drops_oldest: bool) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.drops_oldest = drops_oldest
        self.lock = threading.Lock()
        self._cameras: dict[str, CameraSpool] = {}
        self._reserved = 0  # bytes of frames that are being written
        self._full = False
        self.folder = os.open(root, _FOLDER)
        try:
            self._lock_file = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.folder)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self.folder)
            raise
        self._find_what_is_there()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is put or taken any more; an empty folder of a camera has no meaning, and goes."""
        for camera in self._cameras:
            with suppress(OSError):
                os.rmdir(camera, dir_fd=self.folder)
        os.close(self._lock_file)
        folder, self.folder = self.folder, -1  # a writer that hangs in the store must not come back to another's folder
        os.close(folder)

    def _find_what_is_there(self) -> None:
        foreign = []
        with os.scandir(self.folder) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False) and camera_name(item.name) == item.name:
                    camera = CameraSpool(self, item.name)
                    foreign += [f"{item.name}/{name}" for name in camera.find_what_is_there()]
                    self._cameras[item.name] = camera
                elif item.name != _LOCK:
                    foreign.append(item.name)
        if foreign:
            logger.warning(
                "the spool %s holds %d things that are not framecap's, such as %s: they are left alone",
                telemetry.mask(str(self.root)),
                len(foreign),
                ascii(telemetry.mask(sorted(foreign)[0])[:200]),
            )

    def left(self) -> list[str]:
        """The cameras of which there are frames."""
        return sorted(name for name, camera in self._cameras.items() if len(camera))

    def camera(self, name: str, dropped: Dropped) -> CameraSpool:
        """The part of one camera; `dropped` hears of its frames that are lost in here."""
        with self.lock:
            camera = self._cameras.setdefault(name, CameraSpool(self, name))
        camera.dropped = dropped
        return camera

    def reserve(self, size: int) -> bool:
        """Whether there is room for so many bytes; if need be, and the user chose so, the oldest frames go for it.

        They go from the camera that has the most, so that one camera's backlog leaves room for the others.
        """
        while True:
            with self.lock:
                used = sum(camera.bytes for camera in self._cameras.values()) + self._reserved
                if used + size <= self.max_bytes:
                    self._reserved += size
                    self._full = self._full and used > _FULL_NO_MORE * self.max_bytes
                    return True
                first, self._full = not self._full, True
            if first:
                logger.warning(
                    "the spool %s is full (capture.spool.max_bytes: %d): capture.overflow decides what happens",
                    telemetry.mask(str(self.root)),
                    self.max_bytes,
                )
            if size > self.max_bytes or not self.drop_oldest():
                return False

    def unreserve(self, size: int) -> None:
        with self.lock:
            self._reserved -= size

    def drop_oldest(self) -> bool:
        """Drop the oldest frame of the camera that has the most bytes, if the user chose so and there is one."""
        if not self.drops_oldest:
            return False
        with self.lock:
            camera = max(self._cameras.values(), key=lambda camera: camera.bytes if len(camera) else -1)
        return camera.drop_oldest()


class CameraSpool:
    """One camera's frames in their order. Puts and takes come from its own queue, drops from any camera's."""

    def __init__(self, spool: Spool, camera: str) -> None:
        self._spool = spool
        self._camera = camera
        self._numbers: deque[int] = deque()  # of the frames that wait, the oldest first
        self._next = 0
        self._failing = False
        self._short = False
        self._known: dict[str, str] | None = None
        self.bytes = 0
        self.dropped: Dropped = lambda reason, count: None

    def __len__(self) -> int:
        """Frames that wait: those in a writer's hand are not among them."""
        return len(self._numbers)

    def find_what_is_there(self) -> list[str]:
        """Take over what an earlier run has left; the names of files that are no frames."""
        foreign = []
        with self._open_folder() as folder, os.scandir(folder) as found:
            for item in found:
                frame = spool_file.NAME.fullmatch(item.name)
                if frame:
                    self._numbers.append(int(frame[1]))
                    self.bytes += item.stat(follow_symlinks=False).st_size
                elif spool_file.UNFINISHED.fullmatch(item.name):
                    os.unlink(item.name, dir_fd=folder)
                elif not item.name.endswith(spool_file.DAMAGED_SUFFIX):
                    foreign.append(item.name)
        self._numbers = deque(sorted(self._numbers))
        self._next = self._numbers[-1] + 1 if self._numbers else 0
        self._show()
        return foreign

    def put(self, frame: CapturedFrame) -> bool:
        """Add a frame behind the others, durably; False when it cannot be: no room, or the disk does not take it."""
        number = self.hold(frame)
        if number is None:
            return False
        self.put_back(number)
        return True

    def hold(self, frame: CapturedFrame) -> int | None:
        """As `put`, for a frame that is in the writer's hand meanwhile: its number, for `put_back` or `remove`."""
        content = spool_file.encode(frame)
        while self._spool.reserve(len(content)):
            try:
                return self._write(content)
            except OSError as error:
                if not self._failing:
                    logger.error("camera %s: the spool does not take frames: %s", self._camera, error.strerror)  # noqa: TRY400
                self._failing = True
                if error.errno not in _NO_SPACE or not self._spool.drop_oldest():
                    return None
            finally:
                self._spool.unreserve(len(content))
        return None

    def _write(self, content: bytes) -> int:
        number = self._next
        with self._open_folder() as folder:
            spool_file.write(folder, number, content)
        with self._spool.lock:
            self._next += 1
            self.bytes += len(content)
        if self._failing:
            logger.info("camera %s: the spool takes frames again", self._camera)
        self._failing = False
        return number

    def take(self) -> tuple[int, CapturedFrame] | None:
        """The oldest frame and its number; what is damaged is put aside and counted.

        None when there is none, or this machine has no means now to read it (then it still counts as waiting).
        """
        while True:
            with self._spool.lock:
                if not self._numbers:
                    return None
                number = self._numbers.popleft()
            try:
                with self._open_folder() as folder:
                    frame = spool_file.read(folder, number, self._camera)
            except FileNotFoundError:  # somebody took it away
                continue
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._come_back_to(number, error)
                    return None
                self._put_aside(number, error)
            except DamagedSpoolFile as error:
                self._put_aside(number, error)
            else:
                self._short = False
                return number, frame

    def _come_back_to(self, number: int, error: OSError) -> None:
        if not self._short:
            logger.error("camera %s: the spool cannot be read for now: %s", self._camera, error.strerror)
        self._short = True
        self.put_back(number)

    def put_back(self, number: int) -> None:
        """The frame of that number waits (again): it is the oldest when it was taken before, else the newest."""
        with self._spool.lock:
            if self._numbers and number < self._numbers[0]:
                self._numbers.appendleft(number)
            else:
                self._numbers.append(number)
            self._show()

    def remove(self, number: int) -> None:
        """The frame of that number is stored."""
        try:
            with self._open_folder() as folder:
                size = os.stat(spool_file.name_of(number), dir_fd=folder, follow_symlinks=False).st_size
                os.unlink(spool_file.name_of(number), dir_fd=folder)
        except FileNotFoundError:
            size = 0
        except OSError as error:  # it will be delivered again, to a store that has it
            logger.warning("camera %s: a frame cannot be removed from the spool: %s", self._camera, error.strerror)
            return
        with self._spool.lock:
            self.bytes -= size
            self._show()

    def drop_oldest(self) -> bool:
        with self._spool.lock:
            if not self._numbers:
                return False
            number = self._numbers.popleft()
            self._known = {}  # one of them is not there any more
        self.remove(number)
        self.dropped("drop_oldest", 1)
        return True

    def holds(self, frame: CapturedFrame) -> bool:
        """Whether an earlier run left just this frame here: a recording that is captured again is not spooled again."""
        if self._known is None:
            self._known = dict(self._headers())
        if not self._known:
            return False
        return self._known.get(make_key(frame.name)) == spool_file.digest_of(frame.data)

    def _headers(self) -> Iterator[tuple[str, str]]:
        with self._open_folder() as folder, os.scandir(folder) as found:
            for item in found:
                with suppress(DamagedSpoolFile, OSError):
                    if frame := spool_file.NAME.fullmatch(item.name):
                        yield spool_file.read_header(folder, int(frame[1]))

    def _put_aside(self, number: int, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        name = spool_file.name_of(number)
        try:
            with self._open_folder() as folder:
                size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
                name = spool_file.put_aside(folder, number)
        except OSError:  # it stays, under its name, until the next start
            size = 0
        with self._spool.lock:
            self.bytes -= size
            self._show()
        logger.error("camera %s: a frame in the spool is damaged (%s): it is left there as %s", self._camera, reason, name)
        self.dropped("spool_damaged", 1)

    @contextmanager
    def _open_folder(self) -> Iterator[int]:
        """The camera's folder, made when it is not there (somebody may tidy up while we run)."""
        try:
            folder = os.open(self._camera, _FOLDER, dir_fd=self._spool.folder)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(self._camera, 0o700, dir_fd=self._spool.folder)
            sync_folder(self._spool.folder)
            folder = os.open(self._camera, _FOLDER, dir_fd=self._spool.folder)
        try:
            yield folder
        finally:
            os.close(folder)

    def _show(self) -> None:
        telemetry.spooled_frames.labels(self._camera).set(len(self._numbers))
        telemetry.spooled_bytes.labels(self._camera).set(self.bytes)
