"""What the sections are made of: their base, and the types of values that several of them have."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=1_000_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveSeconds = Annotated[float, Field(gt=0, le=1_000_000)]  # the system's waits take no more milliseconds than 2 ** 31


def whole_number_as_text(value: object) -> object:
    """`source: 0` and `frames: 2026` are what they look like, though YAML reads numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_iso_time(value: object) -> object:
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


Text = Annotated[str, BeforeValidator(whole_number_as_text), Field(min_length=1), AfterValidator(_without_zero)]
IsoTime = Annotated[str, BeforeValidator(as_iso_time)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)
