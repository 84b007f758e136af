"""A frame's key in; a small image of it, or the frame's own bytes, fit to be shown by a browser, out.

Images are decoded in child processes, as the worker does: one that crashes or hangs its decoder costs that one image.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

import cv2

from framecap.config import WorkerConfig
from framecap.decoding.decode import check_size
from framecap.decoding.image_header import read_header
from framecap.decoding.pool import DecoderPool, DecoderSettings
from framecap.errors import DecodeError, StoreUnavailable
from framecap.stores.base import Store

SIDE = 512  # pixels of a small image's longer side
DECODERS = 2
KEPT_BYTES = 64 << 20  # of small images
MAX_WAITING = 300  # small images being made or waiting for that
REFUSAL_SECONDS = 600.0  # so long a frame that no small image can be made of is not tried again, unless it is replaced
MAX_REFUSALS = 10_000  # that are remembered
_QUALITY = 80
_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class ServedImage:
    """Bytes, and their media type."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    """When (monotonic seconds) a frame was refused, and why; without the traceback, which would keep the image's bytes."""

    at: float
    error: DecodeError


class ImageCache:
    """Safe to use from several threads. `close` ends the decoders."""

    def __init__(self, store: Store, limits: WorkerConfig) -> None:
        self._store = store
        self._limits = limits
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], ServedImage] = OrderedDict()
        self._kept_bytes = 0
        self._refused: OrderedDict[tuple[str, str], _Refusal] = OrderedDict()  # the oldest first
        self._under_way: dict[tuple[str, str], Future[ServedImage]] = {}
        self._decoders: DecoderPool | None = None
        self._closed = False

    def own(self, key: str) -> ServedImage:
        """The frame as it is stored. Raises FrameGone, FrameUnreadable, KeyRefused, StoreUnavailable, and DecodeError for
        what no browser should be given: no image, or more pixels or memory than `worker.max_pixels` allows."""
        data = self._store.read(key, self._limits.max_bytes)
        header = read_header(data)
        check_size(header, self._limits.max_pixels)
        return ServedImage(data, _TYPES[header.format])

    def small(self, key: str) -> ServedImage:
        """The frame, `SIDE` pixels long at most, as a JPEG; made once, and kept while there is room. Raises as `own`;
        what cannot be decoded is not tried again for a while."""
        name = (key, self._store.stat(key).etag)
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
                return kept
            refused = self._refused.get(name)
            if refused is not None and time.monotonic() - refused.at < REFUSAL_SECONDS:
                raise type(refused.error)(str(refused.error))
            under_way = self._under_way.get(name)
            if under_way is None:
                if len(self._under_way) >= MAX_WAITING:
                    raise StoreUnavailable("too many images are asked for at once: ask again")
                ours = self._under_way[name] = Future()
        if under_way is not None:
            return under_way.result()
        try:
            image = self._make(key)
        except BaseException as error:
            ours.set_exception(error)
            ours.exception()  # seen, though nobody else may have waited
            if isinstance(error, DecodeError):
                self._refuse(name, error)
            raise
        else:
            ours.set_result(image)
            self._keep(name, image)
            return image
        finally:
            with self._lock:
                del self._under_way[name]

    def _make(self, key: str) -> ServedImage:
        decoded = self._pool().decode(self._store.read(key, self._limits.max_bytes))
        scale = min(1.0, SIDE / max(decoded.width, decoded.height))
        size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
        small = cv2.resize(cv2.cvtColor(decoded.pixels, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return ServedImage(data.tobytes(), "image/jpeg")

    def _refuse(self, name: tuple[str, str], error: DecodeError) -> None:
        """Remember it: frames that take long to be refused must not take the decoders from all others, again and again."""
        with self._lock:
            self._refused.pop(name, None)
            self._refused[name] = _Refusal(time.monotonic(), type(error)(str(error)))
            while len(self._refused) > MAX_REFUSALS:
                self._refused.popitem(last=False)

    def _keep(self, name: tuple[str, str], image: ServedImage) -> None:
        with self._lock:
            self._kept[name] = image
            self._kept_bytes += len(image.data)
            while self._kept_bytes > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped.data)

    def _pool(self) -> DecoderPool:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the page is being closed")
            if self._decoders is None:
                settings = DecoderSettings(SIDE, self._limits.max_pixels, self._limits.decode_timeout_seconds)
                self._decoders = DecoderPool(settings, DECODERS)
            return self._decoders

    def close(self) -> None:
        with self._lock:
            self._closed = True
            decoders, self._decoders = self._decoders, None
        if decoders is not None:
            decoders.close()
