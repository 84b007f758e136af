"""A name in, a bundle with the seed's widths and random weights out: what it says is nonsense, how fast it says it is not.

    python -m benchmarks.random_model bundle-of-nonsense        # resnext101_32x8d at 256 px; PyTorch's runtime only

Its graphs for ONNX Runtime are empty files. The statistics of its normalisations are taken from noise, so that numbers keep
a size that half precision can hold; no sentence ends by itself (`captioning.max_words` says how long they are).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from framecap.captioning.bundle import DECODER, ENCODER, FORMAT, PARTS, VOCABULARY, WEIGHTS, file_hash
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.vocabulary import END, PAD, START, UNKNOWN, Vocabulary

NAME, SIZE, GRID = "resnext101_32x8d", 256, 14
WORDS = 9490  # of COCO's captions, as the seed keeps them
_NOISE = 8  # images


def make(folder: Path, name: str = NAME, size: int = SIZE, grid: int = GRID) -> None:
    """Write the bundle into `folder`."""
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = Encoder(name, size, grid).to(device)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        encoder.train()(torch.randint(0, 256, (_NOISE, size, size, 3), dtype=torch.uint8, device=device))
    encoder.eval().cpu()
    words = tuple(f"word{number}" for number in range(WORDS - 4))
    vocabulary = Vocabulary((PAD, *words, UNKNOWN, START, END))
    shape = DecoderShape(words=WORDS, features=encoder.width, memory=None, embedding=512, hidden=512, attention=512)
    decoder = AttentionDecoder(shape).eval()
    with torch.no_grad():
        decoder.output.weight.mul_(10)  # else all words are as likely as any
        decoder.output.bias[vocabulary.end] = -100
    folder.mkdir(parents=True, exist_ok=True)
    state = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).state_dict()
    weights = {key: value for key, value in state.items() if value.is_floating_point()}
    save_file({k: (v.half() if v.ndim > 1 else v).contiguous() for k, v in weights.items()}, folder / WEIGHTS)
    (folder / VOCABULARY).write_text(vocabulary.to_json())
    for graph in (ENCODER, DECODER):
        (folder / graph).write_bytes(b"")
    card = {
        "format": FORMAT,
        "name": "random",
        "encoder": {"name": name, "grid": grid},
        "decoder": {"kind": "attention_lstm", **vars(shape)},
        "preprocessing": {"size": size, "mean": encoder.mean.tolist(), "std": (1 / encoder.scale).tolist()},
        "places": encoder.grid,
        "training": {},
        "scores": {},
        "licences": {},
        "files": {part: file_hash(folder / part) for part in PARTS},
    }
    (folder / "bundle.json").write_text(json.dumps(card))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_model", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the bundle is written")
    parser.add_argument("--encoder", default=NAME, help=f"({NAME})")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels of an image's side ({SIZE})")
    options = parser.parse_args()
    make(options.folder, options.encoder, options.size)


if __name__ == "__main__":
    main()
