"""The schema of config.yaml's section captioning: what captions, and how its captions read."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from framecap.config.fields import Fraction, PositiveSeconds, Section, Text


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.query or parts.fragment:
        raise ValueError("an address is expected, such as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise ValueError("no user and password here: the key comes from the environment (api_key_variable)")
    return value.rstrip("/")


class OpenAIConfig(Section):
    """A vision server that speaks OpenAI's protocol (chat completions): vLLM, Ollama and others."""

    base_url: Annotated[Text, AfterValidator(_address)] = "http://127.0.0.1:8000/v1"
    model: Text | None = Field(None, description="as the server names it")
    prompt: Text = "Describe this image in one short sentence."
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = Field(
        None, description="environment variable that holds the server's key; null: it wants none"
    )
    image_size: int = Field(768, ge=64, le=4096, description="longest side of the JPEG that is sent, in pixels")
    max_tokens: int = Field(80, ge=1, le=4096, description="an answer that needs more is no caption")
    timeout_seconds: PositiveSeconds = Field(60.0, description="for one answer")
    concurrency: int = Field(8, ge=1, le=256, description="requests at a time")
    logprobs: bool = Field(True, description="ask for each token's log-probability, which makes the confidence")


class TransformersConfig(Section):
    """A captioning model of the Hugging Face hub (BLIP, GIT, ViT-GPT2 and their like)."""

    model: Text | None = Field(None, description="a folder, or its name on the hub")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="commit of the hub's repository; a folder has none"
    )


class CaptioningConfig(Section):
    """What captions, and how its captions read.

    `kind` chooses, and each kind has keys of its own beside it: so every key has one place, one default and one variable
    in the environment, and another kind is tried by changing one word.
    """

    kind: Literal["bundle", "openai", "transformers"] = Field("bundle", description="a model bundle, or what is set below")
    bundle: Text = Field("default", description="default: the bundled model; else a bundle's folder")
    runtime: Literal["auto", "onnx", "torch", "null"] = Field(
        "auto", description="auto: torch where CUDA is, onnx elsewhere; null: no model, for tests of everything else"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="of runtime torch; auto: fp16 on a GPU, fp32 on a CPU"
    )
    threads: int = Field(0, ge=0, le=256, description="of inference; 0: as many as cores")
    beam: int = Field(5, ge=1, le=32)
    max_words: int = Field(24, ge=1, le=100)
    length_penalty: float = Field(0.7, ge=0, le=5, description="scores are divided by words ** this")
    block_ngrams: int = Field(3, ge=0, le=10, description="word groups of this length never repeat in a caption; 0: off")
    block_repeats: bool = Field(True, description="no content word stands twice in a caption of a bundle")
    alternatives: int = Field(2, ge=0, le=32, description="other captions kept in the sidecar")
    uncertain_below: Fraction = Field(0.5, description="a caption of less confidence is marked uncertain")
    capitalise: bool = True
    full_stop: bool = True
    openai: OpenAIConfig = OpenAIConfig()
    transformers: TransformersConfig = TransformersConfig()
