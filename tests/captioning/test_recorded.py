"""A search that is recorded and played again: on a GPU as CUDA graphs, here by a recorder with the same rules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from framecap.captioning.beam import BeamSettings, Sentence, search
from framecap.captioning.bundle import open_bundle
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_captioner
from framecap.captioning.model.attention import best_scores, plain_scores
from framecap.captioning.runtimes.cuda_graphs import CudaGraphs, Lane, Repeating
from framecap.captioning.runtimes.pytorch import TorchRuntime
from framecap.config import CaptioningConfig
from framecap.errors import DeviceMemoryError
from tests.tiny import COLOURS, SHAPES, draw_image

SETTINGS = BeamSettings(sentences=3)
END = 13  # the tiny bundle's
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Operations(TorchDispatchMode):
    """What is done within: each operation with its arguments, its outputs, and whether their memory is new."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Tensor], bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        result = func(*args, **kwargs)
        outputs = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        new = not any(one.untyped_storage().data_ptr() in given for one in outputs)
        if new or func._schema.is_mutable:  # the rest are views of what is there
            self.done.append((func, args, kwargs, outputs, new))
        return result


class Poisoning(Repeating):
    """Plays work as a CUDA graph does: the same operations on the same memory, which holds anything before."""

    def size(self, frames: int) -> int:
        return 1 << (frames - 1).bit_length()

    def stops(self, max_words: int) -> list[int]:
        return [*range(2, max_words, 2), max_words]

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with Operations() as operations:
            work()

        def play() -> None:
            for _, _, _, outputs, new in operations.done:
                for output in outputs if new else ():
                    output.fill_(True if output.dtype == torch.bool else 1_000_000)
            for func, args, kwargs, outputs, new in operations.done:
                again = func(*args, **kwargs)
                for output, value in zip(outputs, tree_leaves(again), strict=True) if new else ():
                    output.copy_(value)

        return play


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([draw_image(colour, shape, seed) for colour in COLOURS for shape in SHAPES for seed in range(3)])


@pytest.fixture(scope="module")
def runtime(tiny_bundle: Path) -> TorchRuntime:
    return TorchRuntime(open_bundle(str(tiny_bundle)), torch.device("cpu"), 1)


def words(found: list[list[Sentence] | None]) -> list[list[tuple[int, ...]]]:
    return [[sentence.words for sentence in sentences or []] for sentences in found]


def test_what_is_played_is_what_was_recorded_whatever_was_skipped(runtime: TorchRuntime, images: np.ndarray) -> None:
    """Batches end at different stops, so that reads and parts are skipped; sizes take turns in one lane."""
    lane = Lane(runtime._encode, runtime.size, Poisoning())
    for start, stop in ((0, 1), (1, 4), (4, 8), (8, 16), (2, 3), (16, 21), (0, 8), (3, 4)):
        batch = images[start:stop]
        expected = search(runtime.encode(batch), END, SETTINGS)
        found = lane.describe(batch, END, SETTINGS)
        assert words(found) == words(expected)
        for one, other in zip(found, expected, strict=True):
            assert one is not None
            assert other is not None
            np.testing.assert_allclose(one[0].attention, other[0].attention, atol=1e-4)


def test_a_sentence_outlives_the_next_batch(runtime: TorchRuntime, images: np.ndarray) -> None:
    (first,) = runtime.describe(images[:1], END, SETTINGS)
    assert first is not None
    assert first.sentences[0].attention is not None
    attention = first.sentences[0].attention.copy()
    runtime.describe(images[5:6], END, SETTINGS)
    np.testing.assert_array_equal(first.sentences[0].attention, attention)


@pytest.mark.faults(15)
def test_a_lane_without_memory_says_so_and_goes_on_with_less(runtime: TorchRuntime, images: np.ndarray) -> None:
    def encode(image_files: Tensor) -> Any:
        if len(image_files) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")
        return runtime._encode(image_files)

    lane = Lane(encode, runtime.size, Repeating())
    with pytest.raises(DeviceMemoryError, match=r"no memory for a batch of 8: CUDA out of memory\. Tried [^\n]*$"):
        lane.describe(images[:8], END, SETTINGS)
    assert words(lane.describe(images[:4], END, SETTINGS)) == words(search(runtime.encode(images[:4]), END, SETTINGS))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_says_nearly_the_same(tiny_bundle: Path, images: np.ndarray, precision: str) -> None:
    def texts(precision: str) -> list[str]:
        config = CaptioningConfig(bundle=str(tiny_bundle), runtime="torch", precision=precision)
        captioner = load_captioner(config)
        assert captioner.model.runtime == ("torch" if precision == "fp32" else f"torch-{precision}")
        return [caption.text for caption in captioner.caption(images)]  # type: ignore[union-attr]

    whole, half = texts("fp32"), texts(precision)
    same = sum(one == other for one, other in zip(whole, half, strict=True))
    assert same >= len(images) // 2  # a random model is unsure of everything


@needs_cuda
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
def test_the_gpu_says_what_the_cpu_says(precision: str, clip: Path) -> None:
    from tests.captioning.test_runtimes import frames_of

    images = frames_of(clip, 60, 224)
    bundle, config = open_bundle("default"), CaptioningConfig()
    cpu = BundleCaptioner(bundle, TorchRuntime(bundle, torch.device("cpu"), 0), config).caption(images)
    gpu = BundleCaptioner(bundle, TorchRuntime(bundle, torch.device("cuda"), 0, precision), config)
    found = [one for start in range(0, 60, 25) for one in gpu.caption(images[start : start + 25])]
    same = sum(one.text == other.text for one, other in zip(cpu, found, strict=True))  # type: ignore[union-attr]
    assert same >= (45 if precision == "bf16" else 57), f"{same} of 60"


@needs_cuda
@pytest.mark.faults(15)
def test_a_full_gpu_halves_the_batch_and_recovers(clip: Path) -> None:
    from framecap.captioning.caption import Caption
    from framecap.worker.resilient_captioner import ResilientCaptioner
    from tests.captioning.test_runtimes import frames_of

    images = frames_of(clip, 64, 224)
    bundle = open_bundle("default")
    runtime = TorchRuntime(bundle, torch.device("cuda"), 0)
    captioner = BundleCaptioner(bundle, runtime, CaptioningConfig())
    captioner.caption(images[:1])
    whole = torch.cuda.get_device_properties(0).total_memory
    steady = ResilientCaptioner(captioner, 64)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (160 << 20)) / whole)
    try:
        answers = steady.caption(list(images))
        assert all(isinstance(answer, Caption) for answer in answers)
        assert steady.limit < 64, "it was to be too small for all at once"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for _ in range(40):
        steady.caption(list(images[: steady.limit]))
    assert steady.limit == 64


@needs_cuda
def test_graphs_are_for_powers_of_two(clip: Path) -> None:
    assert [CudaGraphs(torch.device("cuda")).size(frames) for frames in (1, 2, 3, 17, 256)] == [1, 2, 4, 32, 256]


_KERNEL = """
import torch
from framecap.captioning.model.attention import plain_scores
from framecap.captioning.model.attention_kernel import fused_scores
for frames, beams, places, width in ((2, 1, 9, 16), (3, 5, 49, 48)):
    keys, weight = torch.randn(frames, places, width), torch.randn(width)
    query = torch.randn(frames, beams, 2 * width)[:, :, :width]  # one of two layers side by side
    torch.testing.assert_close(fused_scores(keys, query, weight), plain_scores(keys, query, weight), atol=1e-4, rtol=1e-4)
print("the same")
"""
_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from framecap.captioning.model.attention_kernel import _kernel
kinds = {name: "*fp16" for name in ("keys", "query", "weight", "scores")} | {"locations": "i32", "stride": "i32"}
sizes = {"BEAMS": 5, "WIDTH": 512, "SIDE": 512, "LOCATIONS": 16}
source = ASTSource(_kernel, kinds | dict.fromkeys(sizes, "constexpr"), sizes)
print("cubin" in triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm)
"""


@pytest.mark.parametrize(("code", "reported", "interpret"), [(_KERNEL, "the same", "1"), (_COMPILE, "True", "0")])
def test_the_attentions_kernel(code: str, reported: str, interpret: str) -> None:
    """In Triton's interpreter it gives what plain PyTorch gives; its compiler makes machine code for a GPU of it."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "TRITON_INTERPRET": interpret},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == reported, done.stderr


def test_without_the_kernel_a_warning_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "framecap.captioning.model.attention_kernel", None)  # as if there were no Triton
    assert best_scores(torch.device("cuda"), torch.float16) is plain_scores
    (reported,) = caplog.records
    assert reported.levelname == "WARNING"
    assert "about a tenth slower" in reported.getMessage()
    assert "apt-get install gcc libc6-dev" in reported.getMessage()
    assert "--tmpfs /tmp:exec" in reported.getMessage()
