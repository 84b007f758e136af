"""A split's HDF5 file of images in, RGB images out; and the HDF5 bytes that stand around the images while one is made.

Two stores are read alike. `pixels`, the seed's: dataset `images` (photos, 3, size, size) uint8 RGB. `jpeg`, a tenth of the
size: dataset `jpegs` (bytes,) uint8, the JPEG files one after the other, and `ends` (photos,), where each of them ends. Both
carry the attribute `captions_per_image`; `jpeg` carries `size`, too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import h5py
import numpy as np
import numpy.typing as npt

from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import ConfigError, DecodeError

Store = Literal["pixels", "jpeg"]
MAX_SIDE = 4096  # pixels


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What a file of images says of itself."""

    photos: int
    captions_per_image: int
    size: int
    store: Store


class ImageFile:
    """A file of images, as a map-style data set: `file[photo]` is (size, size, 3) RGB.

    It is opened at a process's first read and closed before any fork: an HDF5 handle must not live in two processes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        with _open(path) as file:
            self.shape = _look_at(path, file)

    def __len__(self) -> int:
        return self.shape.photos

    def __getitem__(self, photo: int) -> npt.NDArray[np.uint8]:
        """Raises ConfigError when the file is damaged there."""
        if not 0 <= photo < len(self):
            raise IndexError(photo)
        if self._file is None:
            self._file = _open(self.path)
            _OPEN.add(self)
        try:
            return self._read(self._file, photo)
        except (OSError, RuntimeError, DecodeError) as error:  # h5py has both
            raise ConfigError(f"{self.path}: photo {photo} cannot be read ({error}): run prepare again") from None

    def close(self) -> None:
        """The next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # so that it travels to a spawned worker

    def _read(self, file: h5py.File, photo: int) -> npt.NDArray[np.uint8]:
        if self.shape.store == "pixels":
            planes: npt.NDArray[np.uint8] = file["images"][photo]
            return np.ascontiguousarray(planes.transpose(1, 2, 0))
        ends = file["ends"]
        data: npt.NDArray[np.uint8] = file["jpegs"][int(ends[photo - 1]) if photo else 0 : int(ends[photo])]
        return decode(data.tobytes(), Preprocessing(self.shape.size), self.shape.size**2).pixels


_OPEN: WeakSet[ImageFile] = WeakSet()


def _close_all() -> None:
    for file in list(_OPEN):
        file.close()


os.register_at_fork(before=_close_all)


def around(shape: ImageShape, ends: Sequence[int]) -> tuple[bytes, bytes]:
    """The bytes of an HDF5 file before and after its images, which are as many bytes as the last of `ends` says.

    What stands before the images has the same length for any number of them.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # its place in the file is known at once
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    hollow = _HollowFile()
    with h5py.File(hollow, "w") as file:
        file.attrs["captions_per_image"] = shape.captions_per_image
        if shape.store == "pixels":
            size = (shape.photos, 3, shape.size, shape.size)
            images = file.create_dataset("images", size, np.uint8, dcpl=early)
        else:
            file.attrs["size"] = shape.size
            images = file.create_dataset("jpegs", (ends[-1],), np.uint8, dcpl=early)
            file.create_dataset("ends", data=np.array(ends, np.int64))
        start, length = int(images.id.get_offset()), int(images.id.get_storage_size())
    return hollow.part(0, start), hollow.part(start + length, hollow.length)


class _HollowFile(io.RawIOBase):
    """A file in memory that has only the pages that were written to: gigabytes of images that are not there cost nothing.

    No disk is needed, for HDF5 does not survive one that is full.
    """

    PAGE = 4096  # bytes

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.position = self.length = 0

    def part(self, start: int, stop: int) -> bytes:
        """These bytes; zeros where nothing was written."""
        first, last = start // self.PAGE, -(-stop // self.PAGE)
        joined = b"".join(self.pages.get(page, bytes(self.PAGE)) for page in range(first, last))
        return joined[start - first * self.PAGE : stop - first * self.PAGE]

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            page, inside = divmod(self.position + done, self.PAGE)
            piece = view[done : done + self.PAGE - inside]
            self.pages.setdefault(page, bytearray(self.PAGE))[inside : inside + len(piece)] = piece
            done += len(piece)
        self.position += done
        self.length = max(self.length, self.position)
        return done

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.part(self.position, min(self.position + len(view), self.length))
        view[: len(data)] = data
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.length = self.position if size is None else size
        return self.length

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(
            f"{path}: not a whole HDF5 file of images ({error}): copy it again from where it was made, or run prepare again"
        ) from None


def _look_at(path: Path, file: h5py.File) -> ImageShape:
    """Raises ConfigError for an HDF5 file of other things."""
    try:
        shape = _shape(file)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise _foreign(path, str(error)) from None
    if not (0 < shape.size <= MAX_SIDE and shape.captions_per_image > 0):
        raise _foreign(path, f"{shape.captions_per_image} captions a photo, {shape.size} pixels")
    return shape


def _shape(file: h5py.File) -> ImageShape:
    captions_per_image = int(file.attrs["captions_per_image"])
    if "jpegs" in file:
        jpegs, ends = file["jpegs"], file["ends"]
        if (jpegs.ndim, jpegs.dtype, ends.ndim, ends.dtype.kind) != (1, np.uint8, 1, "i"):
            raise ValueError(f"jpegs has {jpegs.shape} {jpegs.dtype}, ends {ends.shape} {ends.dtype}")
        return ImageShape(len(ends), captions_per_image, int(file.attrs["size"]), "jpeg")
    photos, planes, height, width = file["images"].shape
    if (planes, height, file["images"].dtype) != (3, width, np.uint8):
        raise ValueError(f"images has {file['images'].shape} {file['images'].dtype}")
    return ImageShape(photos, captions_per_image, width, "pixels")


def _foreign(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: not a data folder's images, which are `images` (photos, 3, size, size) uint8 with the attribute "
        f"captions_per_image: {what}"
    )
