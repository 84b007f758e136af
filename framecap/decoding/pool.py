"""The decoder pool: the bytes of an image in, its model-sized pixels out, decoded in child processes that may die of it.

An image that crashes or hangs its decoder costs that process, which is killed and replaced at once, and only that image.
The children end when this process closes their socket, which it also does by dying.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import framecap
from framecap.errors import (
    CaptionerUnavailable,
    DecodeError,
    DecoderCrashed,
    DecoderTimeout,
    EmptyFrame,
    MissingError,
    OversizedFrame,
    TruncatedFrame,
    UndecodableFrame,
)
from framecap.telemetry import mask, without_secrets

_START_SECONDS = 60.0  # a busy machine may need long to import cv2
_ENDING_SECONDS = 1.0
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # by somebody else (out of memory, the end of a service): another one may start
_IMAGE_LENGTH_BYTES = 8
_ANSWER_LENGTH_BYTES = 4
_ERRORS: dict[str, type[DecodeError]] = {
    error.kind: error for error in (EmptyFrame, TruncatedFrame, UndecodableFrame, OversizedFrame)
}


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """An image: pixels (height, width, 3) RGB, the size it is shown at, its perceptual hash, what its codec
    complained of."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    perceptual_hash: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """What the decoders of a pool have in common; `size` and `square resize` are as `preprocess.Preprocessing` has them."""

    size: int
    max_pixels: int
    timeout_seconds: float
    command: Sequence[str] = (sys.executable, "-P", "-m", "framecap.decoding.child")
    square_resize: bool = True


class DecoderPool:
    """As many decoders as `count`; `decode` may be called from as many threads."""

    def __init__(self, settings: DecoderSettings, count: int) -> None:
        self._settings = settings
        self._closed = False
        self._replacing = threading.Lock()
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        self._decoders = {_Decoder(settings) for _ in range(count)}  # all start at once, and are waited for when needed
        for decoder in self._decoders:
            self._idle.put(decoder)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(decoder.pid for decoder in tuple(self._decoders))

    def change(self, settings: DecoderSettings) -> None:
        """Images that are decoded from now on are decoded so."""
        self._settings = settings

    def decode(self, data: bytes) -> DecodedFrame:
        """Decode one image. Raises the DecodeError of it, or MissingError when no decoder starts on this machine."""
        decoder = self._idle.get()
        try:
            # it died of no image of ours (out of memory, an administrator), or makes images of another size
            if not decoder.alive or decoder.settings is not self._settings:
                decoder = self._replace(decoder)
            decoder.wait_until_ready()
            return decoder.decode(data)
        except (DecoderCrashed, DecoderTimeout):
            decoder = self._replace(decoder)
            raise
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the decoders; one that is at work on an image fails it with DecoderCrashed."""
        with self._replacing:
            self._closed = True
        for decoder in self._decoders:
            decoder.hang_up()
        given_back: list[_Decoder] = []
        with contextlib.suppress(queue.Empty):  # a thread that does not let go of its decoder holds nobody up
            for _ in self._decoders:
                given_back.append(self._idle.get(timeout=_ENDING_SECONDS))
        for decoder in self._decoders:
            decoder.end()
        for decoder in given_back:  # who asks now is told that the pool is closed
            self._idle.put(decoder)

    def _replace(self, decoder: _Decoder) -> _Decoder:
        with self._replacing:
            if self._closed:
                raise DecoderCrashed("the decoders are closed")
            decoder.hang_up()
            decoder.kill()
            decoder.end()
            self._decoders.discard(decoder)
            try:
                replacement = _Decoder(self._settings)
            except OSError as error:  # out of processes, memory or descriptors: no fault of the image's
                raise CaptionerUnavailable(f"no decoder process can be started: {error.strerror}") from None
            self._decoders.add(replacement)
            return replacement


class _Decoder:
    """One child process, the socket to it, the memory shared with it, and what it says on standard error."""

    def __init__(self, settings: DecoderSettings) -> None:
        self.settings = settings
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:  # nothing stays open if one cannot be had
            self._socket, their_end = socket.socketpair()
            ours.enter_context(self._socket)
            theirs.enter_context(their_end)
            memory = os.memfd_create("framecap-pixels")
            theirs.callback(os.close, memory)
            self._complaints = ours.enter_context(os.fdopen(os.memfd_create("framecap-complaints"), "rb"))
            os.ftruncate(memory, settings.size**2 * 3)
            self._memory = ours.enter_context(mmap.mmap(memory, settings.size**2 * 3))
            numbers = (their_end.fileno(), memory, settings.max_pixels, settings.size, int(settings.square_resize))
            self._process = subprocess.Popen(
                [*settings.command, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=(their_end.fileno(), memory),
                env=_environment(settings.max_pixels),
                process_group=0,  # Ctrl-C on the terminal is for the parent
            )
            self._closing = ours.pop_all()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            self._ready = "ready" in self._answer(time.monotonic() + _START_SECONDS)
        except (OSError, EOFError) as error:
            if isinstance(error, EOFError) and self._process.wait(_ENDING_SECONDS) in _KILLED:
                raise DecoderCrashed(f"the decoder process was killed while it started ({self._ending()})") from None
            raise MissingError(
                f"the decoder process does not start ({self._last_words() or error}): "
                "is framecap installed with opencv-python-headless? `framecap check` says"
            ) from None

    def decode(self, data: bytes) -> DecodedFrame:
        seconds = self.settings.timeout_seconds
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(len(data).to_bytes(_IMAGE_LENGTH_BYTES, "big"))
            self._socket.sendall(data)
            answer = self._answer(deadline)
        except TimeoutError:
            raise DecoderTimeout(f"decoding took longer than worker.decode_timeout_seconds ({seconds:g} s)") from None
        except (OSError, EOFError):
            self.kill()
            raise DecoderCrashed(f"the decoder process died of it: {self._last_words() or self._ending()}") from None
        if "kind" in answer:
            raise _ERRORS.get(answer["kind"], UndecodableFrame)(answer["message"])
        shape = tuple(answer["shape"])
        pixels = np.frombuffer(self._memory, np.uint8, math.prod(shape)).reshape(shape).copy()
        return DecodedFrame(pixels, answer["width"], answer["height"], answer["hash"], tuple(map(mask, answer["warnings"])))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def hang_up(self) -> None:
        """Tell the child, and a thread of ours that waits for it, that it is over."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Wait for the child, not for long, and give back what it had."""
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._closing.close()

    def _answer(self, deadline: float) -> dict[str, Any]:
        length = int.from_bytes(self._receive(_ANSWER_LENGTH_BYTES, deadline), "big")
        answer: dict[str, Any] = json.loads(self._receive(length, deadline))
        return answer

    def _receive(self, count: int, deadline: float) -> bytes:
        received = b""
        while len(received) < count:
            self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
            part = self._socket.recv(count - len(received))
            if not part:
                raise EOFError
            received += part
        return received

    def _last_words(self) -> str:
        lines = os.pread(self._complaints.fileno(), 64 * 1024, 0).decode("utf-8", "replace").strip().splitlines()
        return mask(lines[-1][:300]) if lines else ""

    def _ending(self) -> str:
        code = self._process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment(max_pixels: int) -> dict[str, str]:
    """The parent's without secrets, OpenCV's own limit (it is read when cv2 is imported), the place this package lies in."""
    home = str(Path(framecap.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    limits = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(max_pixels), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**without_secrets(os.environ), **limits, "PYTHONPATH": path}
