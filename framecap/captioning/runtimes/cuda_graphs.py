"""Images in, sentences out, through a search that is recorded once for its batch size and played again for each batch.

On a GPU what is recorded are CUDA graphs: the host starts one where it would start thousands of small kernels, and waits
only to ask, every few words, whether all frames are done. On a CPU the same code runs anew each time: so it is tested.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from framecap.captioning.beam import BeamResult, BeamSearch, BeamSettings, Decoder, Sentence, read
from framecap.captioning.caption import Images
from framecap.errors import DeviceMemoryError

Work = Callable[[], None]
Encode = Callable[[Tensor], Decoder]

_recording = threading.Lock()  # one at a time: it needs the host, the other lanes go on


class Recorder(Protocol):
    """How work is done again and again on a device."""

    def size(self, frames: int) -> int:
        """Of the recording for so many frames: as many or more."""
        ...

    def stops(self, max_words: int) -> list[int]:
        """After how many words it is asked whether all frames are done; `max_words` is the last."""
        ...

    def rehearse(self, works: list[Work]) -> None:
        """Do it once, so that the libraries have what they need."""
        ...

    def record(self, work: Work) -> Work:
        """What does `work` again, on the same memory. Works are done in the order in which they were recorded."""
        ...

    def host(self, like: Tensor) -> Tensor:
        """Memory of the host that the device copies from and to by itself."""
        ...

    def wait(self) -> None:
        """Until the device has done what it was given."""
        ...

    def forget(self) -> None:
        """Give back the memory of what nobody holds any more."""
        ...


class Repeating:
    """A CPU does the work itself."""

    def size(self, frames: int) -> int:
        return frames

    def stops(self, max_words: int) -> list[int]:
        return list(range(1, max_words + 1))

    def rehearse(self, works: list[Work]) -> None:
        pass

    def record(self, work: Work) -> Work:
        return work

    def host(self, like: Tensor) -> Tensor:
        return torch.empty_like(like, device="cpu")

    def wait(self) -> None:
        pass

    def forget(self) -> None:
        pass


class CudaGraphs:
    """A stream and a pool of memory of its own; graphs of one pool are played one after the other."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._start_anew()
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # a thread that waits needs no core

    def _start_anew(self) -> None:
        self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def size(self, frames: int) -> int:
        return 1 << (frames - 1).bit_length()  # few sizes are recorded

    def stops(self, max_words: int) -> list[int]:
        return [*range(12, max_words, 4), max_words]  # hardly a batch is done before

    def rehearse(self, works: list[Work]) -> None:
        with torch.cuda.stream(self.stream):
            for work in works:
                work()
        self.stream.synchronize()
        torch.cuda.empty_cache()  # what the rehearsal took is what the recording takes

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self.stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                with suppress(RuntimeError):
                    graph.capture_end()
                self._start_anew()  # after a failure the pool may still count as being recorded to
                raise
            graph.capture_end()

        def play() -> None:
            with torch.cuda.stream(self.stream):
                graph.replay()

        return play

    def host(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def wait(self) -> None:
        self._done.record(self.stream)
        self._done.synchronize()

    def forget(self) -> None:
        torch.cuda.empty_cache()


class GraphRecording:
    """A search of `frames` frames."""

    def __init__(self, encode: Encode, frames: int, size: int, end: int, settings: BeamSettings, recorder: Recorder) -> None:
        self._encode, self._end, self._settings, self._recorder = encode, end, settings, recorder
        self.images = recorder.host(torch.zeros(frames, size, size, 3, dtype=torch.uint8)).zero_()
        self._all_done = recorder.host(torch.zeros((), dtype=torch.bool))
        self._found: dict[int, dict[str, Tensor]] = {}
        self._search: BeamSearch
        stops = recorder.stops(settings.max_words)
        going = [self._go_to(stop, begin=number == 0) for number, stop in enumerate(stops)]
        reading = [self._read_at(stop) for stop in stops]
        recorder.rehearse([work for pair in zip(going, reading, strict=True) for work in pair])
        self._parts = [
            (stop, recorder.record(go), recorder.record(read_at))
            for stop, go, read_at in zip(stops, going, reading, strict=True)
        ]

    def play(self, frames: int) -> list[list[Sentence] | None]:
        """The sentences of the first `frames` of `images`."""
        parts = iter(self._parts)
        while True:
            stop, go, read_at = next(parts)
            go()
            self._recorder.wait()
            if stop == self._settings.max_words or bool(self._all_done):
                break
        read_at()
        self._recorder.wait()
        return read(BeamResult(**{name: values.numpy()[:frames].copy() for name, values in self._found[stop].items()}))

    def _go_to(self, stop: int, begin: bool) -> Work:
        def go() -> None:
            if begin:
                self._search = BeamSearch(self._encode(self.images), self._end, self._settings)
            while self._search.length < stop:
                self._search.advance()
            self._all_done.copy_(self._search.done, non_blocking=True)

        return go

    def _read_at(self, stop: int) -> Work:
        def read_at() -> None:
            found = self._search.found()
            values: dict[str, Any] = {field.name: getattr(found, field.name) for field in fields(found)}
            if stop not in self._found:
                self._found[stop] = {name: self._recorder.host(value) for name, value in values.items()}
            for name, value in values.items():
                self._found[stop][name].copy_(value, non_blocking=True)

        return read_at


class Lane:
    """One batch at a time: `encode` takes images (n, size, size, 3) in the host's memory."""

    def __init__(self, encode: Encode, size: int, recorder: Recorder) -> None:
        self._encode, self._size, self._recorder = encode, size, recorder
        self._recordings: dict[tuple[int, int, BeamSettings], GraphRecording] = {}

    def describe(self, images: Images, end: int, settings: BeamSettings) -> list[list[Sentence] | None]:
        """See `captioner.Runtime.describe`. A device that is full keeps nothing of this lane."""
        try:
            return self._describe(images, end, settings)
        except RuntimeError as error:
            if not _is_about_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        self._recordings.clear()
        self._recorder.forget()
        raise DeviceMemoryError(f"no memory for a batch of {len(images)}: {reason}")

    @torch.inference_mode()
    def _describe(self, images: Images, end: int, settings: BeamSettings) -> list[list[Sentence] | None]:
        frames = self._recorder.size(len(images))
        key = (frames, end, settings)
        if key not in self._recordings:
            with _recording:
                self._recordings[key] = GraphRecording(self._encode, frames, self._size, end, settings, self._recorder)
        recording = self._recordings[key]
        np.copyto(recording.images.numpy()[: len(images)], images)
        return recording.play(len(images))


def _is_about_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    )
