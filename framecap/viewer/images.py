"""A frame's key in; a small image of it, or the frame's own bytes, fit to be shown by a browser, out.

Images are decoded in child processes, as the worker does: one that crashes or hangs its decoder costs that one image.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

import cv2

from framecap.config import WorkerConfig
from framecap.decoding.image_header import read_header
from framecap.decoding.pool import DecoderPool, DecoderSettings
from framecap.errors import OversizedFrame, StoreUnavailable
from framecap.stores.base import Store

SIDE = 512  # pixels of a small image's longer side
DECODERS = 2
KEPT_BYTES = 64 << 20  # of small images
MAX_WAITING = 300  # small images being made or waiting for that
_QUALITY = 80
_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class ServedImage:
    """Bytes, and their media type."""

    data: bytes
    media_type: str


class ImageCache:
    """Safe to use from several threads. `close` ends the decoders."""

    def __init__(self, store: Store, limits: WorkerConfig) -> None:
        self._store = store
        self._limits = limits
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], ServedImage] = OrderedDict()
        self._kept_bytes = 0
        self._under_way: dict[tuple[str, str], Future[ServedImage]] = {}
        self._decoders: DecoderPool | None = None
        self._closed = False

    def own(self, key: str) -> ServedImage:
        """The frame as it is stored. Raises FrameGone, FrameUnreadable, KeyRefused, StoreUnavailable, and DecodeError for
        what no browser should be given: no image, or more pixels than `worker.max_pixels`."""
        data = self._store.read(key, self._limits.max_bytes)
        header = read_header(data)
        if header.width * header.height > self._limits.max_pixels:
            raise OversizedFrame(f"{header.width}x{header.height} pixels are more than worker.max_pixels allows")
        return ServedImage(data, _TYPES[header.format])

    def small(self, key: str) -> ServedImage:
        """The frame, `SIDE` pixels long at most, as a JPEG; made once, and kept while there is room. Raises as `own`."""
        name = (key, self._store.stat(key).etag)
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
                return kept
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
