"""A data folder and a configuration in, a trained decoder out: cross-entropy on a frozen encoder's cached features.

Writes to the run's folder: `run.json` (what it was run with), `log.txt` (the seed's lines), `best.safetensors` (the decoder
with the best free-running CIDEr-D so far) and `history.json` (one object an epoch).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from framecap.captioning.beam import BeamSettings, search
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.runtimes.pytorch import TorchDecoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.config import TrainConfig
from framecap.errors import ModelError
from train.dataset import DataFolder, Split
from train.features import Features, cached_features
from train.precision import autocast
from train.prepare import whole_file
from train.scores import Scores, score

LOG_EVERY = 100  # steps


@dataclass(frozen=True)
class Batch:
    """features (photos, places, width) and the photos' captions (photos, n, longest) with their lengths (photos, n)."""

    features: Tensor
    captions: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Material:
    """What a run trains on, and what it is judged by (photos it does not train on)."""

    train: Split
    train_features: Features
    judge: Split
    judge_features: Features
    vocabulary: Vocabulary


def gather(folder: DataFolder, encoder: Encoder, held_out: int, cache: Path, device: torch.device) -> Material:
    """The split TRAIN and its features; judged by its last `held_out` photos, or by VAL when that is 0."""
    train = folder.split("TRAIN")
    features = cached_features(encoder, train, cache, device)
    if held_out:
        own, kept = slice(None, -held_out), slice(-held_out, None)
        return Material(train.part(own), features[own], train.part(kept), features[kept], folder.vocabulary)
    val = folder.split("VAL")
    return Material(train, features, val, cached_features(encoder, val, cache, device), folder.vocabulary)


def fit(config: TrainConfig, material: Material, out: Path, device: torch.device) -> AttentionDecoder:
    """Train until the epochs are over or the judge's CIDEr-D has not risen for `patience` epochs; the best decoder."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    decoder = new_decoder(config, material).to(device)
    decay = [p for p in decoder.parameters() if p.ndim > 1]
    rest = [p for p in decoder.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    per_step = max(1, config.batch_size // material.train.captions.shape[1])
    steps = -(-len(material.train) // per_step)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.learning_rate,
        total_steps=config.epochs * steps,
        pct_start=0.05,
        div_factor=10,
        final_div_factor=100,
    )
    history: list[dict[str, object]] = []
    best, since_best = -1.0, 0
    for epoch in range(config.epochs):
        order = np.random.default_rng((config.seed, epoch))
        batches = _batches(material.train, material.train_features, per_step, order, device)
        loss = _epoch(decoder, optimizer, schedule, batches, config, Progress(epoch, steps, out / "log.txt"))
        scores = judge(decoder, material, device)
        history.append({"epoch": epoch, "loss": loss, **scores.rounded()})
        print(json.dumps(history[-1]), flush=True)
        (out / "history.json").write_text(json.dumps(history, indent=1))
        since_best += 1
        if scores.cider_d > best:
            best, since_best = scores.cider_d, 0
            with whole_file(out / "best.safetensors") as path:
                save_file(decoder.state_dict(), path, {"shape": json.dumps(asdict(decoder.shape))})
        if since_best >= config.patience:
            break
    return load_decoder(out / "best.safetensors")


def new_decoder(config: TrainConfig, material: Material) -> AttentionDecoder:
    """A decoder of the configuration's widths for these features and words."""
    shape = DecoderShape(
        words=len(material.vocabulary),
        features=material.train_features.shape[-1],
        memory=config.memory,
        embedding=config.embedding,
        hidden=config.hidden,
        attention=config.attention,
    )
    return AttentionDecoder(shape, config.dropout)


def load_decoder(path: Path) -> AttentionDecoder:
    """A decoder that `fit` saved."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        decoder = AttentionDecoder(DecoderShape(**json.loads(file.metadata()["shape"])))
        decoder.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no dict)
    return decoder.eval()


def _batches(
    split: Split, features: Features, photos: int, order: np.random.Generator, device: torch.device
) -> Iterator[Batch]:
    """Every photo once, in random order, each as it is or mirrored."""
    shuffled = order.permutation(len(split))
    views = order.integers(0, features.shape[1], len(split))
    for start in range(0, len(shuffled), photos):
        chosen = np.sort(shuffled[start : start + photos])
        lengths = split.lengths[chosen]
        yield Batch(
            torch.from_numpy(features[chosen, views[chosen]]).to(device).float(),
            torch.from_numpy(split.captions[chosen, :, : lengths.max()]).to(device),
            torch.from_numpy(lengths).to(device),
        )


class Progress:
    """The seed's log lines, on the terminal and in a file."""

    def __init__(self, epoch: int, steps: int, path: Path) -> None:
        self.epoch, self.steps, self.path = epoch, steps, path
        self.step = 0
        self.losses: list[float] = []
        self.top_5: list[float] = []
        self.started = time.perf_counter()

    def add(self, loss: float, top_5: float) -> None:
        self.losses.append(loss)
        self.top_5.append(top_5)
        if self.step % LOG_EVERY == 0:
            batch_time = (time.perf_counter() - self.started) / (self.step + 1)
            line = (
                f"Epoch: [{self.epoch}][{self.step}/{self.steps}]\tBatch Time {batch_time:.3f}\t"
                f"Loss {loss:.4f} ({np.mean(self.losses):.4f})\tTop-5 Accuracy {top_5:.3f} ({np.mean(self.top_5):.3f})"
            )
            print(line, flush=True)
            with self.path.open("a") as file:
                file.write(line + "\n")
        self.step += 1


def _epoch(
    decoder: AttentionDecoder,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterator[Batch],
    config: TrainConfig,
    progress: Progress,
) -> float:
    """One pass over the photos; the mean loss."""
    decoder.train()
    for batch in batches:
        with autocast(config.amp, batch.features.device):
            loss, top_5 = _loss(decoder, batch, config)
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss is {loss.item()} at step {progress.step} of epoch {progress.epoch}: lower train.learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()
        progress.add(loss.item(), top_5)
    return float(np.mean(progress.losses))


def _loss(decoder: AttentionDecoder, batch: Batch, config: TrainConfig) -> tuple[Tensor, float]:
    """Cross-entropy of the words, plus how far each place's attention over a sentence is from 1; and top-5 accuracy in %.

    Source of the second term: "Show, Attend and Tell", doubly stochastic attention.
    """
    hidden, attention = decoder(batch.features, batch.captions)
    following = batch.captions[:, :, 1:]
    real = torch.arange(following.shape[2], device=following.device) < (batch.lengths[:, :, None] - 1)
    logits, targets = decoder.logits(hidden[real]), following[real]
    words = functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    coverage = (attention * real[..., None]).sum(dim=2)  # (photos, n, places)
    top_5 = (logits.topk(5, dim=1).indices == targets[:, None]).any(dim=1).float().mean()
    return words + config.attention_penalty * ((1 - coverage) ** 2).mean(), 100 * top_5.item()


def judge(decoder: AttentionDecoder, material: Material, device: torch.device) -> Scores:
    """Free-running captions (beam 3) of the judge's photos, scored."""
    captions = describe(decoder, material.judge_features[:, 0], material.vocabulary, BeamSettings(beam=3), device)
    return score(captions, material.judge.references)


def describe(
    decoder: AttentionDecoder,
    features: npt.NDArray[np.float16],
    vocabulary: Vocabulary,
    settings: BeamSettings,
    device: torch.device,
    batch: int = 100,
) -> list[list[str]]:
    """The best sentence of each photo, as words."""
    decoder.eval()
    captions: list[list[str]] = []
    with torch.inference_mode():
        for start in range(0, len(features), batch):
            seen = torch.from_numpy(np.ascontiguousarray(features[start : start + batch])).to(device).float()
            frames = TorchDecoder(decoder, seen, vocabulary.start, vocabulary.never_said)
            for sentences in search(frames, vocabulary.end, settings):
                if sentences is None:
                    raise ModelError("the decoder gives NaN: the run has diverged")
                captions.append(vocabulary.decode(sentences[0].words))
    return captions
