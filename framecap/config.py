"""The schema of config.yaml: flags, environment, file and defaults in, one frozen Config out.

Order of precedence: a command's flag, then `FRAMECAP__SECTION__KEY` in the environment, then config.yaml, then the default
here. Unknown keys, wrong types and YAML tags are refused with the key's name and what is allowed (ConfigError, exit 2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from framecap.config_reading import explain, from_environment, from_flags, merge, read_yaml, refuse_unknown
from framecap.errors import ConfigError
from framecap.telemetry import mask_all

Seconds = Annotated[float, Field(ge=0, le=1_000_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveSeconds = Annotated[float, Field(gt=0, le=1_000_000)]  # the system's waits take no more milliseconds than 2 ** 31


def _whole_number_as_text(value: object) -> object:
    """`source: 0` and `frames: 2026` are what they look like, though YAML reads numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _iso_time(value: object) -> object:
    """A time as ISO 8601 text (YAML reads an unquoted one as a time of its own); without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("an ISO 8601 time is expected, such as 2026-11-22T10:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        if not 1000 <= value.year <= 9000:
            raise ValueError("a year from 1000 to 9000 is expected")  # a key has room for four digits
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value


def _without_zero(value: str) -> str:
    if "\0" in value:
        raise ValueError("a zero character is in no name")
    return value


Text = Annotated[str, BeforeValidator(_whole_number_as_text), Field(min_length=1), AfterValidator(_without_zero)]
IsoTime = Annotated[str, BeforeValidator(_iso_time)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)


class S3Config(_Section):
    """How s3:// addresses (and SQS) are reached. Credentials come through AWS's own chain, never through here."""

    endpoint: Text | None = Field(None, description="another server than AWS, such as http://127.0.0.1:8333")
    region: Text | None = Field(None, description="null: as AWS's own settings say")
    profile: Text | None = Field(None, description="of ~/.aws/config; null: as AWS's own settings say")
    path_style: bool = Field(False, description="server/bucket/key instead of bucket.server/key; many servers need it")
    encryption: Literal["AES256", "aws:kms"] | None = Field(None, description="of new objects; null: the bucket's own")
    kms_key: Text | None = Field(None, description="for aws:kms; null: the account's default key")
    storage_class: Text | None = Field(None, description="of frames, such as STANDARD_IA; null: the bucket's own")
    connect_timeout_seconds: PositiveSeconds = 5.0
    read_timeout_seconds: PositiveSeconds = 20.0
    attempts: int = Field(5, ge=1, le=20, description="tries of a call (botocore's standard retry mode)")


class StoreConfig(_Section):
    """Where frames and sidecars live."""

    frames: Text = Field("./frames", description="directory, mount point of a bucket, or s3://bucket/prefix")
    sidecars: Text | None = Field(None, description="place for the sidecars; null: beside their frames")
    s3: S3Config = S3Config()


Point = Annotated[tuple[Fraction, Fraction], Field(strict=False)]
Polygon = Annotated[tuple[Point, ...], Field(strict=False, min_length=3, max_length=100)]
Zones = Annotated[tuple[Polygon, ...], Field(strict=False, max_length=100)]


class CameraConfig(_Section):
    """One camera of the capture daemon; what is null here is taken from the capture section."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="null: made from the source")
    source: Text = Field(description="file, directory, pattern (img-%04d.jpg), camera number or stream address")
    fps: float | None = Field(None, gt=0, le=1000)
    every: int | None = Field(None, ge=1)
    zones: Zones = Field((), description="polygons that are blacked out: points [x, y] as parts of width and height")


class SpoolConfig(_Section):
    """Frames wait on local disk while the store is away."""

    directory: Text | None = Field(None, description="a directory on a local disk; null: no spool")
    max_bytes: int = Field(10_000_000_000, ge=1_000_000, description="of all frames in it; then capture.overflow decides")


class CaptureConfig(_Section):
    """framecap capture."""

    cameras: tuple[CameraConfig, ...] = Field((), strict=False, description="what to capture, when no source is given")
    fps: float | None = Field(1.0, gt=0, le=1000, description="frames kept per second of the source; null: all, or every")
    every: int | None = Field(None, ge=1, description="keep every n-th frame instead of fps")
    start_time: IsoTime | None = Field(None, description="ISO 8601 time of a file's first frame; null: from the file")
    jpeg_quality: int = Field(90, ge=1, le=100)
    max_size: int | None = Field(None, ge=16, description="longest side in pixels of stored frames; null: as captured")
    overflow: Literal["wait", "drop_oldest", "drop_newest"] = Field(
        "wait", description="what happens when frames come faster than they can be stored"
    )
    queue: int = Field(32, ge=1, le=10_000, description="frames waiting to be stored, per camera")
    spool: SpoolConfig = SpoolConfig()
    open_timeout_seconds: PositiveSeconds = 10.0
    read_timeout_seconds: PositiveSeconds = 10.0
    stall_seconds: PositiveSeconds = Field(15.0, description="no frame for so long: the reader is killed and restarted")
    frozen_seconds: Seconds = Field(60.0, description="the same picture for so long is reported as frozen; 0: never")
    reconnect_min_seconds: PositiveSeconds = 1.0
    reconnect_max_seconds: PositiveSeconds = 30.0


class IngestConfig(_Section):
    """Which frames are pending."""

    scan_seconds: PositiveSeconds = Field(2.0, description="between two scans")
    full_scan_seconds: PositiveSeconds = Field(600.0, description="between two scans of everything, not only of what is new")
    look_back_seconds: Seconds = Field(3600.0, description="how far before the newest frame a scan still looks")
    settle_seconds: Seconds = Field(10.0, description="an empty or truncated frame is failed when unchanged for so long")
    hints: Literal["auto", "on", "off"] = Field("auto", description="file-system events; auto: on local disks only")
    shard: str | None = Field(
        None, pattern=r"^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$", description="2/8: the second of eight equal shares; null: all"
    )
    queue: Text | None = Field(None, description="URL of an SQS queue of S3 events, read instead of scanning; null: none")
    visibility_seconds: int = Field(60, ge=10, le=43_200, description="a message is another's when not renewed for so long")

    @model_validator(mode="after")
    def _a_share_that_exists(self) -> IngestConfig:
        if self.shard is not None:
            number, _, count = self.shard.partition("/")
            if int(number) > int(count):
                raise ValueError(f"shard {self.shard!r}: the first number is at most the second")
            if self.queue is not None:
                raise ValueError("shard and queue: a queue shares the frames out itself; take one of the two")
        return self


class CaptioningConfig(_Section):
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


class NearDuplicatesConfig(_Section):
    """Frames that look like their camera's last captioned one get its caption, without the model."""

    enabled: bool = False
    distance: int = Field(3, ge=0, le=64, description="bits in which the two 64-bit perceptual hashes may differ")
    heartbeat_seconds: PositiveSeconds = Field(60.0, description="caption one at least so often all the same")


class WorkerConfig(_Section):
    """framecap work."""

    decoders: int = Field(0, ge=0, le=64, description="decoder processes; 0: as many as cores")
    decode_timeout_seconds: PositiveSeconds = 10.0
    max_pixels: int = Field(100_000_000, ge=1, le=1 << 40, description="larger pictures are refused from their header")
    max_bytes: int = Field(100_000_000, ge=1, description="larger files are refused")
    batch_size: int = Field(16, ge=1, le=1024)
    batch_wait_ms: float = Field(20.0, ge=0, le=10_000, description="how long a batch waits for more frames")
    queue: int = Field(64, ge=1, le=10_000, description="frames between lease and commit")
    attempts: int = Field(3, ge=1, le=100, description="tries of a frame before it is failed, where a retry can help")
    grace_seconds: PositiveSeconds = Field(30.0, description="after SIGTERM, for what is in hand")
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()


class LogConfig(_Section):
    """Log lines: for people on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class TelemetryConfig(_Section):
    """/metrics, /livez and /readyz over HTTP, for capture and work."""

    host: Text = Field("127.0.0.1", description="address to listen on; 0.0.0.0 lets everybody in")
    port: int | None = Field(None, ge=0, le=65_535, description="null: none of them is served; 0: a free one")


class ReinforceConfig(_Section):
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
    cross_entropy: float = Field(0.1, ge=0, description="weight of the cross-entropy that keeps sentences grammatical")
    max_words: int = Field(24, ge=1, le=100, description="of a sampled sentence")

    @model_validator(mode="after")
    def _a_mean_needs_others(self) -> ReinforceConfig:
        if self.baseline == "mean" and self.samples < 2:
            raise ValueError("baseline 'mean' compares a sample with the others: samples must be 2 or more")
        return self


class TrainConfig(_Section):
    """python -m train fit."""

    encoder: str = Field("efficientnet_lite0", description="efficientnet_lite0..2, or a torchvision or timm model's name")
    size: int = Field(224, ge=32, le=1024, description="side of the pictures in pixels")
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
        True, description="a frozen encoder's features are kept on disk, where pictures are only mirrored; false: never"
    )
    mirror: bool = Field(True, description="half of the photos are seen mirrored")
    crop: float = Field(1.0, gt=0, le=1, description="a random crop keeps this part of a side at least; 1: no crops")
    colour: float = Field(0.0, ge=0, lt=1, description="brightness, contrast and saturation vary by this part; 0: no")
    workers: int = Field(2, ge=0, le=256, description="processes that read pictures where features are not cached")
    amp: Literal["auto", "bf16", "fp16", "fp32", "apex"] = Field(
        "auto", description="auto: bf16 where the device has it in hardware, else fp16 on a GPU, else fp32"
    )
    batch_size: int = Field(120, ge=1, description="captions a step, of all processes; a photo's captions go together")
    epochs: int = Field(10, ge=1)
    patience: int = Field(3, ge=1, description="epochs without a better CIDEr-D before it stops")
    average: int = Field(1, ge=1, le=100, description="the weights of so many best epochs are averaged at the end; 1: no")
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


class Config(_Section):
    """Everything; one section per room."""

    store: StoreConfig = StoreConfig()
    capture: CaptureConfig = CaptureConfig()
    ingest: IngestConfig = IngestConfig()
    captioning: CaptioningConfig = CaptioningConfig()
    worker: WorkerConfig = WorkerConfig()
    log: LogConfig = LogConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _one_way_of_sampling(self) -> Config:
        names = [camera.name for camera in self.capture.cameras if camera.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"capture.cameras: two cameras are named {twice[0]!r}")
        return self


def load_config(
    path: Path | None = None, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Config:
    """The resolved configuration.

    `path` must exist when given; without it `config.yaml` of the working directory is used where there is one. `flags` maps
    dotted keys (`store.frames`) to values; None means that the flag was not given. Raises ConfigError.
    """
    tree: dict[str, Any] = {}
    origins: list[tuple[str, dict[str, Any]]] = []
    file = path or Path("config.yaml")
    if path is not None or file.is_file():
        origins.append((str(file), read_yaml(file)))
    origins.append(("environment", from_environment(environment)))
    origins.append(("command line", from_flags(flags or {})))
    for origin, values in origins:
        refuse_unknown(values, Config, origin)
        merge(tree, values)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def masked_yaml(config: Config) -> str:
    """The configuration as YAML, credentials masked."""
    masked = mask_all(config.model_dump(mode="json"))
    return yaml.safe_dump(masked, sort_keys=False, allow_unicode=True, width=1000)
