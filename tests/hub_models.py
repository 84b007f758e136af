"""Tiny models of the Hugging Face hub's kinds, with random weights, saved to folders as the hub's are."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

SIDE = 32  # pixels
_WORDS = ("<pad>", "<unk>", "<start>", "<end>", "a", "the", "red", "green", "ball", "box", "is", "there")
_WIDTH = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_TOKENS = {"vocab_size": len(_WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_IMAGES = {"image_size": SIDE, "patch_size": 8}


def save_blip(folder: Path) -> Path:
    """BLIP."""
    torch.manual_seed(1)
    text = {**_WIDTH, **_TOKENS, "sep_token_id": 3, "encoder_hidden_size": 32, "max_position_embeddings": 64}
    config = BlipConfig(text_config={**text, "projection_dim": 16}, vision_config={**_WIDTH, **_IMAGES})
    return _save(folder, BlipForConditionalGeneration(config), BlipImageProcessor(size={"height": SIDE, "width": SIDE}))


def save_git(folder: Path) -> Path:
    """GIT."""
    torch.manual_seed(2)
    config = GitConfig(vision_config={**_WIDTH, **_IMAGES}, max_position_embeddings=64, **_WIDTH, **_TOKENS)
    return _save(folder, GitForCausalLM(config), ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def save_vit_gpt2(folder: Path) -> Path:
    """ViT-GPT2, as VisionEncoderDecoder."""
    torch.manual_seed(3)
    decoder = GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, add_cross_attention=True, **_TOKENS)
    model = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**_WIDTH, **_IMAGES)), decoder=GPT2LMHeadModel(decoder))
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.pad_token_id, settings.eos_token_id = 2, 0, 3
    return _save(folder, model, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def _save(folder: Path, model: torch.nn.Module, images: object) -> Path:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>"
    )
    model.eval().save_pretrained(folder)  # type: ignore[operator]
    images.save_pretrained(folder)  # type: ignore[attr-defined]
    tokenizer.save_pretrained(folder)
    return folder
