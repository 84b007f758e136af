"""Images and a bundle in; its captions, found as the usual tutorial code finds them, and how long that took, out.

What `framecap bench` measures itself against, on the same weights and the same pixels: eager PyTorch, one frame at a time,
the encoder's output repeated for each beam, its projection for the attention computed again at each step, the scores of all
words ranked in one flat list, finished sentences in a Python list. That is how a-PyTorch-Tutorial-to-Image-Captioning
(`caption.py`) and the doorbell that was built on it search; here it is written anew, on this project's modules.

Two searches share the step. `search` follows framecap's rules (framecap/captioning/beam.py), so that its captions must be
the same. `tutorial_search` follows the tutorial's: a finished sentence leaves its beam empty, so the batch shrinks; `<unk>`
may be said; nothing is blocked; the best sum of log-probabilities wins, whatever its length; where no sentence ends there
is none. What the tutorial does not have, `memory` (a projection of the features), is computed once a frame here, too.

    python -m benchmarks.naive_loop frames/*.jpg --compare      # needs torch: pip install 'framecap[gpu]'
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from framecap.captioning.bundle import WEIGHTS, Bundle, open_bundle
from framecap.captioning.caption import Caption
from framecap.captioning.load import load_captioner
from framecap.captioning.model.decoder import AttentionDecoder, DecoderShape
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.repetition import REPEATABLE_WORDS
from framecap.captioning.vocabulary import sentence
from framecap.config import CaptioningConfig
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import FramecapError

MAX_PIXELS = 10**8
_NOTHING = float("-inf")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Timed:
    """What came of some frames: their captions (None where no sentence ended), the seconds of decoding and captioning."""

    captions: list[str | None]
    decode_seconds: float
    caption_seconds: float


class NaiveLoop:
    """A bundle's modules in eager PyTorch, fp32, on `device`."""

    def __init__(self, bundle: Bundle, config: CaptioningConfig, device: str = "cpu") -> None:
        self.bundle, self.config, self.device = bundle, config, torch.device(device)
        if config.threads:
            torch.set_num_threads(config.threads)
        card = bundle.card
        self.encoder = Encoder(card.encoder.name, card.preprocessing.size, card.encoder.grid).eval()
        self.decoder = AttentionDecoder(DecoderShape(**card.decoder.model_dump(exclude={"kind"}))).eval()
        weights = {name: value.float() for name, value in load_file(bundle.path / WEIGHTS).items()}
        nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder}).load_state_dict(weights, strict=False)
        self.encoder.normalise(card.preprocessing.mean, card.preprocessing.std)
        self.encoder.to(self.device)
        self.decoder.to(self.device)
        self.suppressed = list(bundle.vocabulary.suppressed)

    def with_config(self, config: CaptioningConfig) -> NaiveLoop:
        """The same modules, searched by other settings."""
        other = copy(self)
        other.config = config
        return other

    def run(self, images: Iterable[bytes], tutorial: bool = False) -> Timed:
        """Caption encoded images, one after the other."""
        search = self.tutorial_search if tutorial else self.search
        captions: list[str | None] = []
        decoding = captioning = 0.0
        for data in images:
            started = time.perf_counter()
            pixels = decode(data, Preprocessing(self.encoder.size), MAX_PIXELS).pixels
            decoded = time.perf_counter()
            captions.append(self._text(search(pixels)))
            decoding += decoded - started
            captioning += time.perf_counter() - decoded
        return Timed(captions, decoding, captioning)

    @torch.no_grad()
    def search(self, pixels: Pixels) -> tuple[list[int], bool] | None:
        """The best sentence by framecap's rules, without its end, and whether it was cut off; pixels (size, size, 3) RGB."""
        beam, end = self.config.beam, self.bundle.vocabulary.end
        features, hidden, cell = self._encode(pixels, 1)
        sentences: list[list[int]] = [[]]
        totals = [0.0]
        finished: list[tuple[float, list[int]]] = []
        words = torch.tensor([self.bundle.vocabulary.start], device=self.device)
        for number in range(self.config.max_words + 1):
            scores, hidden, cell = self._step(features, hidden, cell, words)
            scores[:, self.suppressed] = _NOTHING
            self._block(scores, sentences, end)
            sums = (torch.tensor(totals, device=self.device)[:, None] + scores).view(-1)
            best = sums.topk(min(2 * beam, len(sums)))
            order = list(zip(best.values.tolist(), best.indices.tolist(), strict=True))
            going_on = [(total, *divmod(index, scores.shape[1])) for total, index in order]
            for total, parent, word in going_on[:beam]:
                if word == end and total > _NOTHING:
                    finished.append((total / (number + 1) ** self.config.length_penalty, sentences[parent]))
            if len(finished) >= beam or number == self.config.max_words:
                break
            live = [one for one in going_on if one[2] != end][:beam]
            totals = [total for total, _, _ in live]
            sentences = [[*sentences[parent], word] for _, parent, word in live]
            parents = torch.tensor([parent for _, parent, _ in live], device=self.device)
            words = torch.tensor([word for _, _, word in live], device=self.device)
            features = features[:1].expand(len(live), -1, -1)
            hidden, cell = hidden[parents], cell[parents]
        if finished:
            return max(finished, key=lambda one: one[0])[1], False
        return sentences[int(np.argmax(totals))], True

    @torch.no_grad()
    def tutorial_search(self, pixels: Pixels) -> tuple[list[int], bool] | None:
        """The best sentence by the tutorial's rules; None where the tutorial's code ends in an error: no sentence ended."""
        live, end = self.config.beam, self.bundle.vocabulary.end
        features, hidden, cell = self._encode(pixels, live)
        words = torch.full((live,), self.bundle.vocabulary.start, device=self.device)
        sentences, totals = words[:, None], torch.zeros(live, 1, device=self.device)
        finished: list[list[int]] = []
        finished_totals: list[Tensor] = []
        for number in range(self.config.max_words + 1):
            scores, hidden, cell = self._step(features, hidden, cell, words)
            scores = totals.expand_as(scores) + scores
            totals, indices = (scores[0] if number == 0 else scores.view(-1)).topk(live)
            parents, words = indices // scores.shape[1], indices % scores.shape[1]
            sentences = torch.cat([sentences[parents], words[:, None]], dim=1)
            going_on = [index for index, word in enumerate(words) if word != end]
            ended = sorted(set(range(live)) - set(going_on))
            finished.extend(sentences[ended].tolist())
            finished_totals.extend(totals[ended])
            live -= len(ended)
            if live == 0:
                break
            sentences, features = sentences[going_on], features[parents[going_on]]
            hidden, cell = hidden[parents[going_on]], cell[parents[going_on]]
            totals, words = totals[going_on][:, None], words[going_on]
        if not finished:
            return None
        return finished[finished_totals.index(max(finished_totals))][1:-1], False

    def _encode(self, pixels: Pixels, beams: int) -> tuple[Tensor, Tensor, Tensor]:
        """The features, repeated for each beam: (beams, places, width); the first state (beams, hidden), twice."""
        features = self.decoder.project(self.encoder(torch.from_numpy(pixels)[None].to(self.device)))
        features = features.expand(beams, -1, -1)
        mean = features.mean(dim=1)
        return features, self.decoder.initial_hidden(mean), self.decoder.initial_cell(mean)

    def _step(self, features: Tensor, hidden: Tensor, cell: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One word further: log-probabilities (beams, words) and the state; the attention looks anew at each beam's copy."""
        decoder = self.decoder
        keys = decoder.encoder_attention(features)
        query = decoder.decoder_attention(hidden)
        attention = decoder.full_attention(functional.relu(keys + query[:, None])).squeeze(2).softmax(dim=1)
        context = (features * attention[:, :, None]).sum(dim=1)
        gated = torch.sigmoid(decoder.gate(hidden)) * context
        hidden, cell = decoder.lstm(torch.cat([decoder.embedding(words), gated], dim=1), (hidden, cell))
        return functional.log_softmax(decoder.output(hidden), dim=1), hidden, cell

    def _block(self, scores: Tensor, sentences: Sequence[list[int]], end: int) -> None:
        """No end before the first word, no group of block_ngrams words twice, no content word twice."""
        n = self.config.block_ngrams
        for beam, words in enumerate(sentences):
            if not words:
                scores[beam, end] = _NOTHING
            if n and len(words) >= n:
                last = words[len(words) - n + 1 :]
                for start in range(len(words) - n + 1):
                    if words[start : start + n - 1] == last:
                        scores[beam, words[start + n - 1]] = _NOTHING
            if self.config.block_repeats:
                scores[beam, [word for word in words if self.bundle.vocabulary.words[word] not in REPEATABLE_WORDS]] = (
                    _NOTHING
                )

    def _text(self, found: tuple[list[int], bool] | None) -> str | None:
        if found is None:
            return None
        words, truncated = found
        output = self.bundle.vocabulary.decode(words)
        return sentence(output, self.config.capitalise, self.config.full_stop and not truncated)


def compare(loop: NaiveLoop, images: Sequence[bytes]) -> dict[str, float]:
    """Both on the same images, framecap's captioner in batches of 16: how many captions are the same, and the ratio."""
    captioner = load_captioner(loop.config)
    pixels = np.stack([decode(data, Preprocessing(captioner.image_size), MAX_PIXELS).pixels for data in images])
    captioner.caption(pixels[:16])
    started = time.perf_counter()
    ours = [one for start in range(0, len(pixels), 16) for one in captioner.caption(pixels[start : start + 16])]
    seconds = time.perf_counter() - started
    naive = loop.run(images)
    texts = [one.text if isinstance(one, Caption) else None for one in ours]
    return {
        "frames": len(images),
        "same_captions": sum(one == other for one, other in zip(texts, naive.captions, strict=True)),
        "naive_frames_per_second": len(images) / naive.caption_seconds,
        "framecap_frames_per_second": len(images) / seconds,
        "ratio": naive.caption_seconds / seconds,
    }


def serve(loop: NaiveLoop) -> None:
    """For `framecap bench`: a line of JSON (paths, tutorial) in, a line of JSON (`Timed`) out, until the input ends."""
    print(json.dumps({"device": str(loop.device), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        images = [Path(path).read_bytes() for path in asked["paths"]]
        print(json.dumps(asdict(loop.run(images, asked["tutorial"]))), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.naive_loop", description=__doc__.partition("\n")[0])
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="images")
    parser.add_argument("--bundle", default="default", help="the bundle (default: the bundled model)")
    parser.add_argument("--config", default="{}", help="settings of the section captioning, as JSON")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--tutorial", action="store_true", help="search by the tutorial's own rules")
    parser.add_argument("--compare", action="store_true", help="beside framecap's own captioner")
    parser.add_argument("--serve", action="store_true", help="read what to do from standard input")
    options = parser.parse_args()
    try:
        config = CaptioningConfig.model_validate({**json.loads(options.config), "bundle": options.bundle})
        loop = NaiveLoop(open_bundle(options.bundle), config, options.device)
        if options.serve:
            serve(loop)
            return 0
        images = [path.read_bytes() for path in options.files]
        if not images:
            parser.error("name the images to caption")
        loop.run(images[:1], options.tutorial)  # the first one takes longest
        if options.compare:
            print(json.dumps(compare(loop, images)))
        else:
            done = loop.run(images, options.tutorial)
            print(*(f"{path}: {text}" for path, text in zip(options.files, done.captions, strict=True)), sep="\n")
            speed = len(images) / done.caption_seconds
            print(f"{speed:.1f} frames/s, decoding not counted ({1000 * done.decode_seconds / len(images):.1f} ms a frame)")
    except FramecapError as error:
        print(f"naive_loop: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
