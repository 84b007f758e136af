"""What becomes of a job: its sidecar, captioned, duplicate or failed. No I/O."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime

import framecap
from framecap.captioning.caption import Caption, ModelName
from framecap.errors import FramecapError
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.telemetry import mask
from framecap.worker.jobs import Job

_MAX_MESSAGE = 500  # characters


def record(job: Job) -> Sidecar:
    """The sidecar of a job with an outcome."""
    match job.outcome:
        case Caption() as caption if job.model:
            return _captioned(job, caption, job.model)
        case Sidecar() as original:
            return _duplicate(job, original)
        case Exception() as error:
            return _failed(job, error)
        case _:
            raise ValueError(f"{job.key}: a job without an outcome, or a model that it is of, has no sidecar")


def kind_of(error: Exception) -> str:
    return error.kind if isinstance(error, FramecapError) else FramecapError.kind


def _captioned(job: Job, caption: Caption, model: ModelName) -> Sidecar:
    return Sidecar(
        status="captioned",
        caption=caption.text,
        steady_caption=job.steady,
        confidence=None if caption.confidence is None else min(caption.confidence, 1.0),
        tokens=[
            sidecar.Token(text=word, log_probability=min(log_probability, 0.0))
            for word, log_probability in zip(caption.words, caption.log_probabilities, strict=True)
        ],
        alternatives=[
            sidecar.Alternative(caption=text, confidence=min(confidence, 1.0)) for text, confidence in caption.alternatives
        ],
        truncated=caption.truncated,
        uncertain=caption.uncertain,
        model=sidecar.Model(name=model.name, bundle=model.bundle_hash, runtime=model.runtime),
        **_common(job),
    )


def _duplicate(job: Job, original: Sidecar) -> Sidecar:
    return Sidecar(
        status="duplicate",
        duplicate_of=original.frame.key,
        caption=original.caption,
        steady_caption=original.steady_caption,
        confidence=original.confidence,
        tokens=original.tokens,
        alternatives=original.alternatives,
        truncated=original.truncated,
        uncertain=original.uncertain,
        model=original.model,
        **_common(job),
    )


def _failed(job: Job, error: Exception) -> Sidecar:
    text = str(error) if isinstance(error, FramecapError) else f"{type(error).__name__}: {error}"
    failure = sidecar.Failure(kind=kind_of(error), message=mask(text)[:_MAX_MESSAGE], attempts=job.lease.attempt)
    return Sidecar(status="failed", error=failure, **_common(job))


def _common(job: Job) -> dict[str, object]:
    name = job.name()
    image = job.image
    return {
        "frame": sidecar.Frame(
            key=job.key,
            sha256=job.sha256,
            size=job.entry.size,
            width=image.width if image else None,
            height=image.height if image else None,
            camera=job.camera(),
            captured_at=job.captured_at(),
            sequence=name.sequence if name else None,
            position=job.position,
        ),
        "warnings": list(image.warnings) if image else [],
        "timings": sidecar.Timings(
            read=_milliseconds(job.read_seconds),
            decode=_milliseconds(job.decode_seconds),
            wait=_milliseconds(job.wait_seconds),
            caption=_milliseconds(job.caption_seconds),
            total=_milliseconds(time.monotonic() - job.leased_at),
        ),
        "worker": sidecar.Worker(host=socket.gethostname(), pid=os.getpid(), version=framecap.__version__),
        "committed_at": datetime.now(UTC),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
