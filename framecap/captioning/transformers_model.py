"""A captioning model of the Hugging Face hub (BLIP, GIT, ViT-GPT2, ...) as the captioner: images in, captions out.

Nothing of a model can run code: weights are safetensors only, and code that comes with a model is refused. A model of the
hub is pinned to a commit, so that a worker says tomorrow what it says today.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging as its_logging

from framecap.captioning.bundle import file_hash
from framecap.captioning.caption import Caption, ImageBatch, ModelName
from framecap.captioning.vocabulary import sentence
from framecap.config import CaptioningConfig, TransformersConfig
from framecap.errors import BundleError, ConfigError, DeviceMemoryError

_TOKENS_PER_WORD = 2  # at most, on average
_MAX_SIDE = 4096  # pixels


class TransformersCaptioner:
    """See `caption.Captioner`."""

    square_input = False
    lanes, batch_size = 1, 16

    def __init__(self, config: CaptioningConfig) -> None:
        self._config = config
        name, pinned = _source(config.transformers)
        if config.threads:
            torch.set_num_threads(config.threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        its_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        its_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._images: Any = AutoImageProcessor.from_pretrained(name, **pinned)  # type: ignore[no-untyped-call]
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, **pinned)
            model: Any = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True, **pinned)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = " ".join(str(error).split())[:500]
            raise BundleError(f"captioning.transformers.model {name}: it cannot be loaded: {reason}") from None
        self._model: Any = model.eval().to(self._device)
        ends = self._model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self.model = ModelName(config.transformers.model or name, _hash(config.transformers), "transformers")

    @property
    def image_size(self) -> int:
        """Twice what its own preprocessing makes of it, so that this has enough to average over."""
        sides = dict(self._images.size).values()
        longest: int = max(side for side in sides if side)
        return min(2 * longest, _MAX_SIDE)

    @torch.inference_mode()
    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        """See `caption.Captioner`."""
        sequences = 1 + min(self._config.alternatives, self._config.beam - 1)
        try:
            found = self._generate(list(images), sequences)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"no memory for a batch of {len(images)}: {error}") from None
        steps = self._model.compute_transition_scores(
            found.sequences, found.scores, getattr(found, "beam_indices", None), normalize_logits=self._config.beam == 1
        )
        rows = zip(found.sequences.tolist(), steps.float().clamp(max=0.0).tolist(), strict=True)
        captions = [self._caption(row, log_probabilities) for row, log_probabilities in rows]
        return [_with_alternatives(captions[start : start + sequences]) for start in range(0, len(captions), sequences)]

    def _generate(self, images: list[Any], sequences: int) -> Any:
        inputs = dict(self._images(images, return_tensors="pt"))
        return self._model.generate(
            **{name: values.to(self._device) for name, values in inputs.items()},
            do_sample=False,
            num_beams=self._config.beam,
            num_return_sequences=sequences,
            max_new_tokens=_TOKENS_PER_WORD * self._config.max_words,
            length_penalty=self._config.length_penalty,
            no_repeat_ngram_size=self._config.block_ngrams,
            output_scores=True,
            return_dict_in_generate=True,
        )

    def _caption(self, row: list[int], log_probabilities: list[float]) -> Caption:
        """`row`: the beginning, what was generated, and padding; `log_probabilities` of the latter two."""
        generated = row[len(row) - len(log_probabilities) :]
        length = next((n for n, token in enumerate(generated) if token in self._ends), len(generated))
        truncated = length == len(generated)
        numbers = log_probabilities[: length + 1]  # with the end
        words, sums = self._words(generated[:length], numbers)
        return Caption(
            text=sentence(words, self._config.capitalise, self._config.full_stop and not truncated and not _ended(words)),
            confidence=math.exp(sum(numbers) / len(numbers)),
            words=tuple(words),
            log_probabilities=tuple(sums),
            truncated=truncated,
        )

    def _words(self, tokens: list[int], numbers: list[float]) -> tuple[list[str], list[float]]:
        """The words of tokens, and the log-probability of each: the sum of its tokens'."""
        words: list[str] = []
        sums: list[float] = []
        for count, number in zip(range(1, len(tokens) + 1), numbers, strict=False):
            words = self._tokenizer.decode(tokens[:count], skip_special_tokens=True).split()
            sums = (sums + [0.0] * len(words))[: len(words)]
            if sums:
                sums[-1] += number
        return words, sums


def _with_alternatives(captions: list[Caption]) -> Caption:
    best, *others = captions
    alternatives = tuple((other.text, other.confidence or 0.0) for other in others if other.text != best.text)
    return Caption(best.text, best.confidence, best.words, best.log_probabilities, best.truncated, alternatives=alternatives)


def _ended(words: Sequence[str]) -> bool:
    return bool(words) and words[-1][-1] in ".!?"


def _source(config: TransformersConfig) -> tuple[str, dict[str, Any]]:
    """Where the model comes from, as `from_pretrained` takes it. Raises ConfigError."""
    if config.model is None:
        raise ConfigError("captioning.transformers.model: name a folder, or a model of the Hugging Face hub")
    safe = {"trust_remote_code": False}
    if Path(config.model).is_dir():
        return config.model, {**safe, "local_files_only": True}
    if config.revision is None:
        raise ConfigError(
            f"captioning.transformers.revision: {config.model} is no folder here, and a model of the hub may change at any "
            "time: pin it to a commit of its repository (40 hexadecimal digits)"
        )
    return config.model, {**safe, "revision": config.revision}


def _hash(config: TransformersConfig) -> str:
    """What stands for the model: SHA-256 over the hashes of a folder's files, or over its name on the hub and its commit."""
    folder = Path(config.model or "")
    content: object = f"{config.model}@{config.revision}"
    if folder.is_dir():
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".safetensors", ".txt")]
        content = {path.name: file_hash(path) for path in files}
    known = {"kind": "transformers", "content": content}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
