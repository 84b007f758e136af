"""The schema of config.yaml's section train: what python -m train does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from framecap.config.fields import Seconds, Section


class ReinforceConfig(Section):
    """python -m train reinforce; what is not here is taken from the train section."""

    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(5e-5, gt=0, le=1000, description="the highest, of the decoder")
    encoder_learning_rate: float = Field(
        1e-6, gt=0, le=1000, description="the highest, of the encoder where train.fine_tune is on"
    )
    samples: int = Field(5, ge=1, le=100, description="sentences sampled for a photo")
    baseline: Literal["greedy", "mean"] = Field(
        "mean", description="a sample is compared with the greedy sentence, or with the mean of the other samples"
    )
    bleu: float = Field(0.0, ge=0, le=100, description="weight of BLEU-4 beside CIDEr-D, both 0 to 10; 0: none")
    cross_entropy: float = Field(0.1, ge=0, description="weight of the cross-entropy that keeps sentences grammatical")
    max_words: int = Field(24, ge=1, le=100, description="of a sampled sentence")

    @model_validator(mode="after")
    def _a_mean_needs_others(self) -> ReinforceConfig:
        if self.baseline == "mean" and self.samples < 2:
            raise ValueError("baseline 'mean' compares a sample with the others: samples must be 2 or more")
        return self


class TrainConfig(Section):
    """python -m train fit."""

    encoder: str = Field("efficientnet_lite0", description="efficientnet_lite0..2, or a torchvision or timm model's name")
    size: int = Field(224, ge=32, le=1024, description="side of the images in pixels")
    grid: int | None = Field(None, ge=1, le=64, description="the decoder looks at grid x grid places; null: as they come")
    embedding: int = Field(384, ge=1, le=16_384, description="width of a word's vector")
    hidden: int = Field(512, ge=1, le=16_384, description="width of the LSTM")
    attention: int = Field(512, ge=1, le=16_384, description="width of the attention's inner layer")
    memory: int | None = Field(
        512, ge=1, le=16_384, description="features are projected to this width once a frame; null: as they are"
    )
    dropout: float = Field(0.5, ge=0, lt=1)
    fine_tune: Literal["none", "last", "all"] = Field(
        "none", description="which of the encoder's stages are trained; last: the second half of them"
    )
    cache_features: bool = Field(
        True, description="a frozen encoder's features are kept on disk, where images are only mirrored; false: never"
    )
    mirror: bool = Field(True, description="half of the photos are seen mirrored")
    crop: float = Field(1.0, gt=0, le=1, description="a random crop keeps this part of a side at least; 1: no crops")
    colour: float = Field(0.0, ge=0, lt=1, description="brightness, contrast and saturation vary by this part; 0: no")
    workers: int = Field(2, ge=0, le=256, description="processes that read images where features are not cached")
    amp: Literal["auto", "bf16", "fp16", "fp32", "apex"] = Field(
        "auto", description="auto: bf16 where the device has it in hardware, else fp16 on a GPU, else fp32"
    )
    mix: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(
        {}, description="how often an epoch shows a data set's photos, by its name; 1 where it is not named"
    )
    batch_size: int = Field(120, ge=1, description="captions a step, of all processes; a photo's captions go together")
    epochs: int = Field(10, ge=1)
    patience: int = Field(3, ge=1, description="epochs without a better CIDEr-D before it stops")
    average: int = Field(1, ge=1, le=100, description="the weights of so many best epochs are averaged at the end; 1: no")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="the weights' moving average keeps this part a step, and is judged and kept; 0: no",
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rates, after the warm-up")
    warm_up: float = Field(0.05, ge=0, lt=1, description="part of the run in which the learning rates rise")
    learning_rate: float = Field(1e-3, gt=0, le=1000, description="the highest, of the decoder")
    encoder_learning_rate: float = Field(
        1e-4, gt=0, le=1000, description="the highest, of the encoder where fine_tune is on"
    )
    weight_decay: float = Field(0.01, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    scheduled_sampling: float = Field(
        0.0, ge=0, le=1, description="part of the words that the model continues from its own, at the end; rises from 0"
    )
    attention_penalty: float = Field(1.0, ge=0, description="weight of the doubly stochastic attention's term")
    clip_norm: float = Field(5.0, gt=0)
    checkpoint_seconds: Seconds = Field(60.0, description="between two saves of what --resume needs; 0: at every step")
    seed: int = Field(1, ge=0, le=2**63 - 1)
    reinforce: ReinforceConfig = ReinforceConfig()
