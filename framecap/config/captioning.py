"""The schema of config.yaml's section captioning: the model, and how its captions read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framecap.config.fields import Fraction, Section, Text


class CaptioningConfig(Section):
    """The model and how its captions read."""

    bundle: Text = Field("default", description="default: the model in the box; else a bundle's folder")
    runtime: Literal["auto", "onnx", "torch", "null"] = Field(
        "auto", description="auto: torch where CUDA is, onnx elsewhere; null: no model, for tests of everything else"
    )
    threads: int = Field(0, ge=0, le=256, description="of inference; 0: as many as cores")
    beam: int = Field(5, ge=1, le=32)
    max_words: int = Field(24, ge=1, le=100)
    length_penalty: float = Field(0.7, ge=0, le=5, description="scores are divided by words ** this")
    block_ngrams: int = Field(3, ge=0, le=10, description="word groups of this length never repeat in a caption; 0: off")
    alternatives: int = Field(2, ge=0, le=32, description="other captions kept in the sidecar")
    uncertain_below: Fraction = Field(0.5, description="a caption of less confidence is marked uncertain")
    capitalise: bool = True
    full_stop: bool = True
