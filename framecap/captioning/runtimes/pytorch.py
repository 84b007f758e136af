"""PyTorch as the runtime: a bundle's encoder and decoder on a GPU or a CPU, as what beam search asks for."""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from framecap.captioning.beam import BeamSettings
from framecap.captioning.bundle import WEIGHTS, Bundle
from framecap.captioning.caption import Images
from framecap.captioning.captioner import FrameResult
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape, DecoderState, EncoderMemory
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.model.inference import InferenceDecoder, InferenceEncoder
from framecap.captioning.runtimes.cuda_graphs import CudaGraphs, Lane, Repeating
from framecap.errors import BundleError

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_BATCH = {"cpu": 16, "cuda": 256}  # frames
_LANES = {"cpu": 1, "cuda": 3}  # on a GPU one batch's small steps fill the gaps of another's, and of the host's


class TorchDecoder:
    """A batch of frames in an InferenceDecoder (see `beam.Decoder`)."""

    def __init__(self, model: InferenceDecoder, features: Tensor, start: int) -> None:
        self.model, self.start = model, start
        self.memory: EncoderMemory
        self.memory, self.begun = model.begin(features)
        self.state = self.begun
        self.frames = features.shape[0]

    @torch.inference_mode()
    def step(self, parents: Tensor | None, words: Tensor | None, candidates: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `beam.Decoder.step`."""
        if parents is None or words is None:
            self.state = self.begun
            words = torch.full((self.frames, 1), self.start, device=self.state.hidden.device)
        else:
            beams = self.state.hidden.shape[1]
            rows = (parents + torch.arange(self.frames, device=parents.device)[:, None] * beams).flatten()
            self.state = DecoderState(*(part.flatten(0, 1)[rows].view(*parents.shape, -1) for part in self.state))
        self.state, logits, attention = self.model.step(self.memory, self.state, words)
        log_probabilities = logits.log_softmax(dim=2, dtype=torch.float32)
        logits.index_fill_(2, self.model.suppressed_words, -torch.inf)
        numbers = logits.topk(min(candidates, logits.shape[2]), dim=2).indices  # half precision is ranked in half the time
        best = log_probabilities.gather(2, numbers).masked_fill_(logits.gather(2, numbers).isneginf(), -torch.inf)
        return best, numbers, attention.float()


class TorchRuntime:
    """A bundle's encoder and decoder as PyTorch modules on a device.

    `precision`: fp32, fp16, bf16, or auto: fp16 on a GPU (it keeps eight times as much of a number as bf16), fp32 on a CPU.
    """

    def __init__(self, bundle: Bundle, device: torch.device, threads: int, precision: str = "auto") -> None:
        if device.type == "cpu" and threads:
            torch.set_num_threads(threads)
        self.device, self.batch_size, self.lanes = device, _BATCH[device.type], _LANES[device.type]
        self.start, self.size = bundle.vocabulary.start, bundle.card.preprocessing.size
        encoder, decoder = load_modules(bundle)
        encoder.to(device)
        decoder.to(device)
        chosen = precision if precision != "auto" else ("fp16" if device.type == "cuda" else "fp32")
        self._prepare(encoder, decoder, bundle.vocabulary.suppressed, chosen)
        if precision == "auto" and chosen != "fp32" and not self._is_finite():
            logger.warning("%s: its numbers are too large for fp16: it runs in fp32, slower", bundle.path)
            chosen = "fp32"
            self._prepare(encoder, decoder, bundle.vocabulary.suppressed, chosen)
        self.name = "torch" if chosen == "fp32" else f"torch-{chosen}"
        self._idle: queue.LifoQueue[Lane] = queue.LifoQueue()
        for _ in range(self.lanes):
            self._idle.put(Lane(self._encode, self.size, CudaGraphs(device) if device.type == "cuda" else Repeating()))

    def _prepare(self, encoder: Encoder, decoder: AttentionDecoder, suppressed: tuple[int, ...], precision: str) -> None:
        self.encoder = InferenceEncoder(encoder, PRECISIONS[precision])
        self.decoder = InferenceDecoder(decoder, suppressed, PRECISIONS[precision])

    def _is_finite(self) -> bool:
        """Whether noise, the image of the greatest contrasts, goes through without an overflow."""
        noise = torch.randint(0, 256, (1, self.size, self.size, 3), dtype=torch.uint8, device=self.device)
        with torch.inference_mode():
            return bool(self.encoder(noise).isfinite().all())

    @torch.inference_mode()
    def _encode(self, image_files: Tensor) -> TorchDecoder:
        return TorchDecoder(self.decoder, self.encoder(image_files.to(self.device, non_blocking=True)), self.start)

    def encode(self, images: Images, seen: Sequence[Any] = ()) -> TorchDecoder:
        """See `captioner.Runtime.look`. Nothing is kept: the next batch overwrites what a recorded search has seen."""
        return self._encode(torch.from_numpy(images))

    def describe(self, images: Images, end: int, settings: BeamSettings) -> list[FrameResult | None]:
        """See `captioner.Runtime.describe`."""
        lane = self._idle.get()
        try:
            return [FrameResult(found) if found else None for found in lane.describe(images, end, settings)]
        finally:
            self._idle.put(lane)


def load_modules(bundle: Bundle) -> tuple[Encoder, AttentionDecoder]:
    """The bundle's encoder and decoder as they were trained, in fp32 on the CPU."""
    card = bundle.card
    encoder = Encoder(card.encoder.name, card.preprocessing.size, card.encoder.grid).eval()
    decoder = AttentionDecoder(DecoderShape(**card.decoder.model_dump(exclude={"kind"}))).eval()
    _load(nn.ModuleDict({"encoder": encoder, "decoder": decoder}), bundle.path / WEIGHTS)
    encoder.normalise(card.preprocessing.mean, card.preprocessing.std)
    if encoder.grid != card.places:
        raise BundleError(f"{bundle.path}: bundle.json states another grid than its encoder has")
    return encoder, decoder


def _load(model: nn.Module, path: Path) -> None:
    """The weights of a safetensors file; nothing may be missing or left over but counters that inference does not use."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise BundleError(f"{path}: its weights do not fit the bundle's architecture: {error}") from None
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise BundleError(f"{path}: its weights are not those of the bundle's architecture, first of all {wrong[0]!r}")
