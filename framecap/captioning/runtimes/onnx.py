"""ONNX Runtime as the runtime: a bundle's two graphs on a CPU, as what beam search asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from framecap.captioning.beam import BeamSettings, search
from framecap.captioning.bundle import DECODER, ENCODER, Bundle
from framecap.captioning.caption import Images
from framecap.captioning.captioner import FrameResult
from framecap.errors import BundleError, DeviceMemoryError

Array = npt.NDArray[Any]

_LANES = 2  # two batches at a time, each with half of the cores: neither waits for cores while the other counts beams


class EncodedImages(NamedTuple):
    """All that the encoder gives: of a batch's frames, with an axis of them in front, or of one frame, without it."""

    values: Array
    keys: Array
    hidden: Array
    cell: Array


class OnnxRuntime:
    """Both graphs of a bundle, loaded."""

    name = "onnxruntime"
    batch_size = 16

    def __init__(self, bundle: Bundle, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        threads = threads or len(os.sched_getaffinity(0))
        self.lanes = min(_LANES, threads)
        options.intra_op_num_threads = threads // self.lanes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the decoders need the cores, too
        options.log_severity_level = 3
        try:
            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(bundle.path / graph, options, providers=["CPUExecutionProvider"])
                for graph in (ENCODER, DECODER)
            )
        except Exception as error:  # ONNX Runtime's own types do not share a public base
            raise BundleError(f"{bundle.path}: ONNX Runtime cannot load it: {_first_line(error)}") from None
        self.start = bundle.vocabulary.start
        self.words = len(bundle.vocabulary)
        self._try(bundle)

    def _try(self, bundle: Bundle) -> None:
        """Go one step with a grey image: graphs of another model would fail every frame, one after the other."""
        size, (rows, columns) = bundle.card.preprocessing.size, bundle.card.places
        try:
            decoder = self.encode(np.full((1, size, size, 3), 127, np.uint8))
            _, numbers, attention = decoder.step(None, None, self.words)
        except DeviceMemoryError:
            raise
        except Exception as error:
            raise BundleError(f"{bundle.path}: its graphs do not fit it or each other: {_first_line(error)}") from None
        if attention.shape != (1, 1, rows * columns) or not np.array_equal(np.sort(numbers, axis=None), range(self.words)):
            raise BundleError(f"{bundle.path}: its graphs are of another grid or vocabulary: copy or export it again")

    def encode(self, images: Images, seen: Sequence[EncodedImages | None] = ()) -> OnnxDecoder:
        """See `captioner.Runtime.look`."""
        if kept := [one for one in seen if one is not None]:
            assert len(kept) == len(images)
            return OnnxDecoder(self, EncodedImages(*map(np.stack, zip(*kept, strict=True))))
        return OnnxDecoder(self, EncodedImages(*run(self.encoder, {"images": images})))

    def describe(self, images: Images, end: int, settings: BeamSettings) -> list[FrameResult | None]:
        """See `captioner.Runtime.describe`."""
        decoder = self.encode(images)
        found = search(decoder, end, settings)
        return [
            FrameResult(sentences, EncodedImages(*of_frame)) if sentences else None
            for sentences, of_frame in zip(found, zip(*decoder.seen, strict=True), strict=True)
        ]


class OnnxDecoder:
    """A batch of frames (see `beam.Decoder`)."""

    def __init__(self, runtime: OnnxRuntime, seen: EncodedImages) -> None:
        self.runtime, self.seen = runtime, seen
        self.memory = {"values": seen.values, "keys": seen.keys}
        self.hidden, self.cell = seen.hidden, seen.cell
        self.frames = len(seen.values)

    def step(self, parents: Array | None, words: Array | None, candidates: int) -> tuple[Array, Array, Array]:
        """See `beam.Decoder.step`."""
        if parents is None or words is None:
            self.hidden, self.cell = self.seen.hidden, self.seen.cell
            parents = np.zeros((self.frames, 1), np.int64)
            words = np.full_like(parents, self.runtime.start)
        first = np.arange(self.frames, dtype=np.int64)[:, None] * self.hidden.shape[1]
        log_probabilities, numbers, attention, self.hidden, self.cell = run(
            self.runtime.decoder,
            {
                **self.memory,
                "hidden": self.hidden,
                "cell": self.cell,
                "rows": first + parents,
                "words": words,
                "candidates": np.array([min(candidates, self.runtime.words)], np.int64),
            },
        )
        return log_probabilities, numbers, attention


def run(session: onnxruntime.InferenceSession, inputs: dict[str, Array]) -> list[Array]:
    """All outputs of a graph. Raises DeviceMemoryError when there is no memory for it."""
    try:
        outputs: list[Array] = session.run(None, inputs)
    except Exception as error:
        if "allocate" in str(error) or "bad_alloc" in str(error):
            raise DeviceMemoryError(f"no memory for a batch: {_first_line(error)}") from None
        raise
    return outputs


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:500]
