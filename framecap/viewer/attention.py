"""A captioned frame's key in; where the model looked for each word of its caption out, computed when it is asked for.

Attention is in no sidecar: the frame is captioned again, by the very model that wrote its sidecar or not at all.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from framecap.captioning.caption import Caption, Captioner
from framecap.captioning.load import load_captioner
from framecap.config import CaptioningConfig, WorkerConfig
from framecap.decoding.pool import DecoderPool, DecoderSettings
from framecap.errors import FramecapError, ModelError, StoreUnavailable
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Store

MAX_WAITING = 4  # images to be looked at, one at a time
KEPT = 64  # answers
_FLAT = 1.5  # times an even share
_PARTS = ("upper", "", "lower"), ("left", "", "right")


class NoAttention(ModelError):
    """There is none for this frame; the message says why."""


class Attention:
    """One model for all who ask, loaded when the first one does. Safe to use from several threads."""

    def __init__(self, store: Store, captioning: CaptioningConfig, limits: WorkerConfig) -> None:
        self._store = store
        self._limits = limits
        self._config = captioning
        self._capacity = threading.Semaphore(MAX_WAITING)
        self._one_at_a_time = threading.Lock()
        self._loading = threading.Lock()
        self._captioner: Captioner | None = None
        self._decoders: DecoderPool | None = None
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._closed = False

    def of(self, sidecar: Sidecar) -> dict[str, Any]:
        """Words with their probability, their map (rows of numbers that sum to 1) and where it is brightest, in words.

        Raises NoAttention, saying why; DecodeError; FrameGone; StoreUnavailable, where too many ask.
        """
        if not self._capacity.acquire(blocking=False):
            raise StoreUnavailable("the model is busy with other frames: ask again in a moment")
        try:
            with self._one_at_a_time:
                return self._of(sidecar)
        finally:
            self._capacity.release()

    def captioner(self) -> Captioner:
        """The model that the configuration names. Raises BundleError and MissingError."""
        with self._loading:
            if self._captioner is None:
                self._captioner = load_captioner(self._config)
            return self._captioner

    def _of(self, sidecar: Sidecar) -> dict[str, Any]:
        if sidecar.status == "duplicate":
            raise NoAttention(
                "the model did not look at this frame: its caption is that of an earlier one, which it resembles"
            )
        if sidecar.status != "captioned" or sidecar.model is None:
            raise NoAttention("this frame has no caption")
        name = f"{sidecar.frame.key} {sidecar.frame.sha256} {sidecar.model.bundle}"
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        answer = self._kept[name] = self._look(sidecar, sidecar.model.bundle, sidecar.model.name)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return answer

    def _look(self, sidecar: Sidecar, bundle: str, model: str) -> dict[str, Any]:
        if self._config.kind != "bundle":  # and asking a vision server again may cost money
            raise NoAttention(f"a captioner of kind {self._config.kind} tells nothing of its attention")
        try:
            captioner = self.captioner()
        except FramecapError as error:
            raise NoAttention(f"the model does not load here: {error}") from None
        ours = captioner.model
        if ours.bundle_hash != bundle:
            raise NoAttention(
                f"another model wrote this caption: {model} ({bundle[:12]}), and this page has {ours.name} "
                f"({ours.bundle_hash[:12]}): start it with --bundle and that model's folder"
            )
        data = self._store.read(sidecar.frame.key, self._limits.max_bytes)
        if sidecar.frame.sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise NoAttention("the image has been replaced since it was captioned")
        (caption,) = captioner.caption(self._pool(captioner.image_size).decode(data).pixels[None])
        if isinstance(caption, Exception):
            raise NoAttention(f"the model gives no caption now: {caption}")
        if caption.attention is None:
            raise NoAttention(f"the runtime {ours.runtime} tells nothing of its attention")
        return _answer(caption, caption.attention, sidecar)

    def _pool(self, size: int) -> DecoderPool:
        if self._closed:
            raise StoreUnavailable("the page is being closed")
        if self._decoders is None:
            self._decoders = DecoderPool(
                DecoderSettings(size, self._limits.max_pixels, self._limits.decode_timeout_seconds), 1
            )
        return self._decoders

    def close(self) -> None:
        self._closed = True
        if self._decoders is not None:
            self._decoders.close()


def _answer(caption: Caption, attention: npt.NDArray[np.float32], sidecar: Sidecar) -> dict[str, Any]:
    words = [
        {"text": word, "probability": math.exp(log_probability), "map": np.round(one, 5).tolist(), "where": where(one)}
        for word, log_probability, one in zip(caption.words, caption.log_probabilities, attention, strict=False)
    ]
    return {"caption": caption.text, "same": caption.text == sidecar.caption, "words": words}


def where(attention: npt.NDArray[np.float32]) -> str:
    """In words where a map (rows, columns) is bright, such as `upper left`; `everywhere alike` where it is nearly flat."""
    bright = np.maximum(attention - 1 / attention.size, 0)  # more than an even share
    if attention.max() * attention.size < _FLAT:
        return "everywhere alike"
    rows, columns = (np.arange(length) + 0.5 for length in attention.shape)
    down = _PARTS[0][int(3 * float(bright.sum(axis=1) @ rows / bright.sum()) / attention.shape[0])]
    across = _PARTS[1][int(3 * float(bright.sum(axis=0) @ columns / bright.sum()) / attention.shape[1])]
    return " ".join(part for part in (down, across) if part) or "centre"
