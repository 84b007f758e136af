"""Sidecars in; a Parquet table, one row each, out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framecap.errors import MissingError
from framecap.sidecars.sidecar import Sidecar
from framecap.timeline.export.atomic_output import finished_file
from framecap.timeline.export.writer import Writer, named

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 10_000  # of a row group, which is what is in memory


class Parquet(Writer):
    """The sidecar's fields, those of its parts with the part's name before them: frame_key, model_name, error_kind, ..."""

    def write(self, sidecars: Iterable[Sidecar], to: Path | None) -> None:
        path = named(to, "parquet")
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingError("--to parquet: pyarrow is not installed: pip install 'framecap[export]'") from None
        schema = _schema()
        sidecars = iter(sidecars)
        with finished_file(path) as unfinished, pq.ParquetWriter(unfinished, schema, compression="zstd") as table:
            while rows := [row(sidecar) for sidecar in islice(sidecars, _ROWS)]:
                table.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                self.written += len(rows)


_PARTS = ("frame", "error", "model", "timings", "worker")


def row(sidecar: Sidecar) -> dict[str, Any]:
    """One row: the parts' fields stand beside the sidecar's own."""
    fields = sidecar.model_dump()
    parts = {name: fields.pop(name) or {} for name in _PARTS}
    return fields | {f"{name}_{field}": value for name, part in parts.items() for field, value in part.items()}


def _schema() -> pa.Schema:
    """Written out, so that a table's columns do not depend on what is in it."""
    import pyarrow as pa

    text, number, real = pa.string(), pa.int64(), pa.float64()
    time = pa.timestamp("us", tz="UTC")
    model = pa.struct({"name": text, "bundle": text, "runtime": text})
    first_look = pa.struct({"caption": text, "confidence": real, "uncertain": pa.bool_(), "model": model})
    columns = {
        "frame_key": text,
        "frame_camera": text,
        "frame_captured_at": time,
        "frame_position": real,
        "frame_sequence": number,
        "frame_sha256": text,
        "frame_size": number,
        "frame_width": number,
        "frame_height": number,
        "status": text,
        "caption": text,
        "steady_caption": text,
        "confidence": real,
        "uncertain": pa.bool_(),
        "tokens": pa.list_(pa.struct({"text": text, "log_probability": real})),
        "alternatives": pa.list_(pa.struct({"caption": text, "confidence": real})),
        "truncated": pa.bool_(),
        "first_look": first_look,
        "new_scene": pa.bool_(),
        "duplicate_of": text,
        "warnings": pa.list_(text),
        "error_kind": text,
        "error_message": text,
        "error_attempts": number,
        "model_name": text,
        "model_bundle": text,
        "model_runtime": text,
        **{f"timings_{name}": real for name in ("read", "decode", "wait", "caption", "total")},
        "worker_host": text,
        "worker_pid": number,
        "worker_version": text,
        "committed_at": time,
        "schema_version": number,
    }
    return pa.schema(list(columns.items()))
