"""The sidecar's codec and schema: round trip, the schema file, what is refused, what is read as it is (row 31)."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import framecap
from framecap.errors import SidecarError
from framecap.frames import MAX_SIDECAR_BYTES
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Alternative, Failure, Frame, Model, Sidecar, Timings, Token, Worker

SCHEMA_FILE = Path(framecap.__file__).with_name("sidecar.schema.json")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
probabilities = st.floats(0, 1)
log_probabilities = st.floats(-50, 0)
milliseconds = st.floats(0, 1e6)
counts = st.integers(0, 10**9)

frames_of_sidecars = st.builds(
    Frame,
    key=texts,
    sha256=st.none() | hashes,
    size=st.none() | counts,
    width=st.none() | st.integers(1, 60_000),
    height=st.none() | st.integers(1, 60_000),
    camera=texts,
    captured_at=times,
    sequence=st.none() | counts,
    position=st.none() | st.floats(0, 1e6),
)
common = {
    "frame": frames_of_sidecars,
    "timings": st.none()
    | st.builds(
        Timings, read=milliseconds, decode=milliseconds, wait=milliseconds, caption=milliseconds, total=milliseconds
    ),
    "worker": st.builds(Worker, host=texts, pid=counts, version=texts),
    "committed_at": times,
    "warnings": st.lists(texts, max_size=2),
}
captions = {
    "caption": texts,
    "steady_caption": st.none() | texts,
    "confidence": st.none() | probabilities,
    "tokens": st.lists(st.builds(Token, text=texts, log_probability=log_probabilities), max_size=3),
    "alternatives": st.lists(st.builds(Alternative, caption=texts, confidence=probabilities), max_size=2),
    "truncated": st.booleans(),
    "uncertain": st.none() | st.booleans(),
    "model": st.builds(Model, name=texts, bundle=hashes, runtime=texts),
}
failures = st.builds(Failure, kind=texts, message=texts, attempts=st.integers(1, 9))
sidecars = st.one_of(
    st.builds(Sidecar, status=st.just("captioned"), **captions, **common),
    st.builds(Sidecar, status=st.just("duplicate"), duplicate_of=texts, **captions, **common),
    st.builds(Sidecar, status=st.just("skipped"), **common),
    st.builds(Sidecar, status=st.just("failed"), error=failures, **common),
)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
    return loaded


@given(sidecars)
def test_what_is_encoded_is_decoded(written: Sidecar) -> None:
    data = sidecar.encode(written)
    assert data.endswith(b"}\n")
    assert sidecar.is_whole(data)
    assert sidecar.decode(data) == written


@settings(max_examples=50)
@given(sidecars)
def test_what_is_encoded_fits_the_schema_file(schema: dict[str, Any], written: Sidecar) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(sidecar.encode(written)))


def test_the_schema_file_is_the_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == sidecar.json_schema(), "run: make docs"


@pytest.mark.faults(31)
@settings(max_examples=50)
@given(sidecars, st.data())
def test_a_truncated_sidecar_is_none(written: Sidecar, data: st.DataObject) -> None:
    whole = sidecar.encode(written)
    truncated = whole[: data.draw(st.integers(0, len(whole) - 3))]
    assert not sidecar.is_whole(truncated)
    with pytest.raises(SidecarError, match="not a valid sidecar"):
        sidecar.decode(truncated)


@pytest.mark.faults(31)
@given(st.binary(max_size=200))
@example(b"[" * 100_000)  # deeper than a recursive parser can go
def test_any_bytes_are_a_sidecar_or_an_error(data: bytes) -> None:
    assert sidecar.is_whole(data) + sidecar.is_torn(data) + sidecar.is_foreign(data) == 1
    with pytest.raises(SidecarError):
        sidecar.decode(data, "a.jpg.json")


@given(
    st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), lambda x: st.dictionaries(st.text(), x))
)
@example({"status": "failed"})
@example({"title": "a.jpg", "photoTakenTime": {"timestamp": "1550000000"}})
@example({"status": "ok", "frame": 3})
def test_json_of_another_shape_is_another_program_s(document: object) -> None:
    assert sidecar.is_foreign(json.dumps(document).encode())


def frame(**changes: Any) -> dict[str, Any]:
    return {"key": "a.jpg", "camera": "unsorted", "captured_at": "2026-11-22T10:00:00Z", **changes}


def minimal(**changes: Any) -> bytes:
    document = {
        "status": "skipped",
        "frame": frame(),
        "worker": {"host": "h", "pid": 1, "version": "0.1.0"},
        "committed_at": "2026-11-22T10:00:01Z",
    }
    return json.dumps(document | changes).encode()


@pytest.mark.faults(31)
def test_a_newer_writer_s_additions_are_read_over() -> None:
    read = sidecar.decode(minimal(schema_version=3, mood="good"))
    assert read.schema_version == 3


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"status": "captioned"}, "needs caption and model"),
        ({"status": "failed"}, "error belongs to a failed sidecar"),
        ({"status": "duplicate"}, "needs caption"),
        ({"caption": "A dog."}, "has no caption"),
        ({"steady_caption": "A dog."}, "has no caption"),
        ({"duplicate_of": "b.jpg"}, "duplicate_of belongs"),
        ({"status": "done"}, "status"),
        ({"committed_at": "2026-11-22T10:00:01"}, "time zone"),
        ({"committed_at": "9999-12-31T23:59:59-23:00"}, "no year from 1 to 9999"),
        ({"frame": frame(captured_at="0001-01-01T00:00:00+23:00")}, "no year from 1 to 9999"),
        ({"frame": frame(position=math.inf)}, "frame.position"),
        ({"frame": frame(position=1e300)}, "frame.position"),
        ({"frame": frame(size=10**30)}, "frame.size"),
        ({"frame": frame(sequence=10**40)}, "frame.sequence"),
        ({"frame": frame(width=10**25)}, "frame.width"),
        ({"confidence": math.nan}, "confidence"),
        ({"frame": {}}, "frame.key"),
        ({"worker": {"host": "h", "pid": "many", "version": "1"}}, "worker.pid"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SidecarError, match=complaint) as refused:
        sidecar.decode(minimal(**changes), "x/a.jpg.json")
    assert str(refused.value).startswith("x/a.jpg.json: not a valid sidecar: ")


def test_version_1_is_read_as_it_is() -> None:
    model = {"name": "old", "bundle": "0" * 64, "runtime": "onnxruntime"}
    read = sidecar.decode(minimal(schema_version=1, status="captioned", caption="A dog.", confidence=0.5, model=model))
    assert (read.schema_version, read.confidence, read.steady_caption) == (1, 0.5, None)


def test_times_are_utc() -> None:
    assert sidecar.decode(minimal(committed_at="2026-11-22T12:00:00+02:00")).committed_at == datetime(
        2026, 11, 22, 10, tzinfo=UTC
    )


def test_too_many_bytes_are_not_even_parsed() -> None:
    with pytest.raises(SidecarError, match="no sidecar"):
        sidecar.decode(b"[" * (MAX_SIDECAR_BYTES + 1))
