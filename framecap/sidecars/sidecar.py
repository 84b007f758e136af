"""The sidecar: its schema (pydantic, and the JSON Schema made from it) and its codec between bytes and objects. No I/O.

A sidecar is one JSON object in UTF-8. `schema_version` counts up when a reader must know; readers migrate older ones.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from framecap.errors import SidecarError
from framecap.frames import MAX_SIDECAR_BYTES

SCHEMA_VERSION = 3  # since 2 the confidence of a caption may be null; since 3 a second look may have replaced it

_INT64 = (1 << 63) - 1  # what tables and databases hold
_INT32 = (1 << 31) - 1
_LONGEST_RECORDING = 1e9  # seconds

Status = Literal["captioned", "duplicate", "skipped", "failed"]


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time needs a time zone")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is in no year from 1 to 9999 of UTC") from None


Time = Annotated[datetime, AfterValidator(_in_utc)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
LogProbability = Annotated[float, Field(le=0.0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer writer's additions are no reason to refuse


class Frame(_Part):
    """The image that the sidecar is about. `width` and `height` in pixels, as shown (after EXIF rotation)."""

    key: str
    sha256: Sha256 | None = Field(None, description="of the frame's bytes; null when they could not be read")
    size: int | None = Field(None, ge=0, le=_INT64, description="bytes")
    width: int | None = Field(None, gt=0, le=_INT32)
    height: int | None = Field(None, gt=0, le=_INT32)
    camera: str
    captured_at: Time
    sequence: int | None = Field(None, ge=0, le=_INT64, description="number in the capture run; null for foreign frames")
    position: float | None = Field(
        None,
        ge=0,
        le=_LONGEST_RECORDING,
        allow_inf_nan=False,
        description="seconds from the start of the source; null for live and foreign",
    )


class Token(_Part):
    """One word of the caption, with the decoder's log-probability of it (natural logarithm)."""

    text: str
    log_probability: LogProbability


class Alternative(_Part):
    """Another caption that the beam search finished, with its confidence."""

    caption: str
    confidence: Probability


class Failure(_Part):
    """Why a frame has no caption: a kind from framecap/errors.py, a sentence, and how often it was tried."""

    kind: str
    message: str
    attempts: int = Field(ge=1, le=_INT64)


class Model(_Part):
    """What wrote the caption: the model's name and hash (a bundle's is that of its parts), and what executed it."""

    name: str
    bundle: Sha256
    runtime: str


class FirstLook(_Part):
    """What the first captioner said of a frame that a second one captioned again."""

    caption: str = Field(min_length=1)
    confidence: Probability | None = None
    uncertain: bool | None = None
    model: Model


class Timings(_Part):
    """Where the time of this frame went, in milliseconds; `caption` is the whole batch's."""

    read: Milliseconds
    decode: Milliseconds
    wait: Milliseconds = Field(description="from decoded to the start of its batch")
    caption: Milliseconds
    total: Milliseconds = Field(description="from lease to commit")


class Worker(_Part):
    """Who committed the sidecar."""

    host: str
    pid: int = Field(ge=0, le=_INT64)
    version: str


class Sidecar(_Part):
    """One frame's commit record."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=_INT64)
    status: Status
    frame: Frame
    caption: str | None = Field(None, min_length=1)
    steady_caption: str | None = Field(
        None,
        min_length=1,
        description="the caption of the scene: its camera's last one, kept while it is nearly as probable for this frame as "
        "the frame's own; null where steady captions are off",
    )
    confidence: Probability | None = Field(
        None,
        description="probability that the caption fits, by the bundle's calibration; without one: exp(mean log-probability);"
        " null where the captioner gives no probabilities (a vision server may not)",
    )
    uncertain: bool | None = Field(
        None, description="whether the confidence is below captioning.uncertain_below; null: the bundle is not calibrated"
    )
    tokens: list[Token] = Field(default_factory=list)
    alternatives: list[Alternative] = Field(default_factory=list)
    truncated: bool = Field(False, description="no sentence ended within the length limit; this is the best part of one")
    first_look: FirstLook | None = Field(
        None, description="what the first captioner said, where `caption`, `confidence` and `model` are a second look's"
    )
    new_scene: bool | None = Field(
        None, description="whether the frame is the first one of a scene of its camera; null: not determined"
    )
    duplicate_of: str | None = Field(None, description="key of the earlier frame whose caption this is")
    warnings: list[str] = Field(default_factory=list, description="what the decoder complained of")
    error: Failure | None = None
    model: Model | None = None
    timings: Timings | None = None
    worker: Worker
    committed_at: Time

    def found_at(self, key: str) -> Self:
        """The same sidecar, with the key beside which it was found for its frame's: where a folder was copied or renamed it
        tells of another."""
        if self.frame.key == key:
            return self
        return self.model_copy(update={"frame": self.frame.model_copy(update={"key": key})})

    @model_validator(mode="after")
    def _parts_fit_the_status(self) -> Self:
        if self.status in ("captioned", "duplicate") and None in (self.caption, self.model):
            raise ValueError(f"a {self.status} sidecar needs caption and model")
        if self.status in ("skipped", "failed") and (self.caption, self.steady_caption) != (None, None):
            raise ValueError(f"a {self.status} sidecar has no caption")
        if (self.status == "duplicate") != (self.duplicate_of is not None):
            raise ValueError("duplicate_of belongs to a duplicate sidecar, and only there")
        if (self.status == "failed") != (self.error is not None):
            raise ValueError("error belongs to a failed sidecar, and only there")
        return self


def encode(sidecar: Sidecar) -> bytes:
    """The sidecar as the bytes to commit: indented JSON, UTF-8, a final newline."""
    return sidecar.model_dump_json(indent=1).encode() + b"\n"


def decode(data: bytes, where: str = "sidecar") -> Sidecar:
    """Bytes as a sidecar, of this schema or an older one. Raises SidecarError, naming `where`, for others."""
    if len(data) > MAX_SIDECAR_BYTES:
        raise SidecarError(f"{where}: {len(data)} bytes are no sidecar (the limit is {MAX_SIDECAR_BYTES})")
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        sort_key = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise SidecarError(f"{where}: not a valid sidecar: {sort_key}: {first['msg']}") from None


def is_whole(data: bytes) -> bool:
    """Whether bytes are a finished sidecar of any schema version: neither torn nor another program's file."""
    try:
        return _has_our_shape(json.loads(data))
    except (ValueError, RecursionError):
        return False


def is_torn(data: bytes) -> bool:
    """Whether bytes are what a writer that died has left of a sidecar: nothing, or no JSON."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return True
    return False


def is_foreign(data: bytes) -> bool:
    """Whether bytes are another program's file: JSON of another shape than a sidecar's.

    Such a file is never written, replaced or deleted, whatever its name.
    """
    return not is_torn(data) and not is_whole(data)


def _has_our_shape(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("status"), str) and isinstance(document.get("frame"), dict)


def has_caption(data: bytes) -> bool:
    """Whether bytes are a finished sidecar with a caption."""
    return is_whole(data) and json.loads(data)["status"] in ("captioned", "duplicate")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that `framecap/sidecar.schema.json` holds."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"framecap/sidecar-{SCHEMA_VERSION}",
        **Sidecar.model_json_schema(),
    }
