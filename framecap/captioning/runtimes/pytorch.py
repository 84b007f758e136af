"""PyTorch as the runtime: a bundle's encoder and decoder on a GPU or a CPU, as what beam search asks for."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from framecap.captioning.bundle import WEIGHTS, Bundle
from framecap.captioning.caption import Images
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape, Memory, State
from framecap.captioning.model.encoder import Encoder
from framecap.errors import BundleError, DeviceMemoryError


class TorchDecoder:
    """A batch of frames in an AttentionDecoder (see `beam.Decoder`)."""

    def __init__(self, model: AttentionDecoder, features: Tensor, start: int, never_said: tuple[int, ...]) -> None:
        self.model = model
        self.memory: Memory
        self.memory, self.state = model.begin(features)
        self.frames = features.shape[0]
        self.start = start
        self.forbidden = torch.zeros(model.shape.words, dtype=torch.bool, device=features.device)
        self.forbidden[list(never_said)] = True

    @torch.inference_mode()
    def step(self, parents: Tensor | None, words: Tensor | None, candidates: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `beam.Decoder.step`."""
        if parents is None or words is None:
            words = torch.full((self.frames, 1), self.start, device=self.forbidden.device)
        else:
            self.state = State(*(part.take_along_dim(parents[:, :, None], dim=1) for part in self.state))
        self.state, attention = self.model.advance(self.memory, self.state, words)
        scores = self.model.logits(self.state.hidden).float().log_softmax(dim=2).masked_fill(self.forbidden, -torch.inf)
        best = scores.topk(min(candidates, scores.shape[2]), dim=2)
        return best.values, best.indices, attention.float()


class TorchRuntime:
    """A bundle's encoder and decoder as PyTorch modules on a device."""

    name = "torch"

    def __init__(self, bundle: Bundle, device: torch.device, threads: int) -> None:
        if device.type == "cpu" and threads:
            torch.set_num_threads(threads)
        card = bundle.card
        self.device = device
        self.encoder = Encoder(card.encoder.name, card.preprocessing.size, card.encoder.grid).eval()
        self.decoder = AttentionDecoder(DecoderShape(**card.decoder.model_dump(exclude={"kind"}))).eval()
        _load(nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder}), bundle.path / WEIGHTS)
        self.encoder.normalise(card.preprocessing.mean, card.preprocessing.std)
        if self.encoder.grid != card.places:
            raise BundleError(f"{bundle.path}: bundle.json states another grid than its encoder has")
        self.encoder.to(device)
        self.decoder.to(device)
        self.start, self.never_said = bundle.vocabulary.start, bundle.vocabulary.never_said

    @torch.inference_mode()
    def look(self, images: Images) -> TorchDecoder:
        """Everything that is done once a frame."""
        try:
            features = self.encoder(torch.from_numpy(images).to(self.device))
            return TorchDecoder(self.decoder, features, self.start, self.never_said)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"no memory for a batch of {len(images)}: {error}") from None


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
