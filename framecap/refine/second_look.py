"""One second look: reads a frame, captions it with the second captioner, and replaces its sidecar if nothing else has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from framecap.captioning.caption import Caption, Captioner, ModelName, close_captioner
from framecap.config import WorkerConfig
from framecap.decoding.pool import DecodedFrame, DecoderPool, DecoderSettings
from framecap.errors import FrameGone, ModelError, SidecarError
from framecap.refine.selection import may_be_refined
from framecap.refine.state import Candidate
from framecap.sidecars import sidecar
from framecap.sidecars.reader import commit_id
from framecap.sidecars.sidecar import FirstLook, Sidecar
from framecap.stores.base import CommitResult, Store


class Outcome(StrEnum):
    """What became of a second look; the label of the metric framecap_refined_total."""

    REFINED = "refined"  # the second caption replaced the first
    FAILED = "failed"  # the second captioner could not caption it; the first caption stays
    SUPERSEDED = "superseded"  # the frame or its sidecar was changed or deleted meanwhile
    TOO_OLD = "too_old"  # it waited longer than refine.max_age_seconds
    DROPPED = "dropped"  # too many newer frames of its camera waited


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that is ready to be captioned: its sidecar as bytes and parsed, and its image."""

    data: bytes
    first: Sidecar
    image: DecodedFrame


class SecondLook:
    """Captions frames again. `prepare`, `caption` and `commit` may be called from several threads."""

    def __init__(self, store: Store, captioner: Captioner, worker: WorkerConfig, decoders: int) -> None:
        self._store, self._captioner, self._max_bytes = store, captioner, worker.max_bytes
        settings = DecoderSettings(
            captioner.image_size, worker.max_pixels, worker.decode_timeout_seconds, square_resize=captioner.square_input
        )
        self._decoders = DecoderPool(settings, decoders)

    def prepare(self, candidate: Candidate) -> Prepared | None:
        """Read the frame and its sidecar; None where either is another by now.

        Raises:
            StoreUnavailable: the store is temporarily unavailable.
            DecodeError: the image cannot be decoded.
        """
        data = self._store.read_sidecar(candidate.key)
        first = None if data is None else _parsed(data)
        if data is None or first is None or not may_be_refined(first) or commit_id(first) != candidate.version:
            return None
        try:
            frame = self._store.read(candidate.key, self._max_bytes)
        except FrameGone:
            return None
        if first.frame.sha256 is not None and hashlib.sha256(frame).hexdigest() != first.frame.sha256:
            return None
        return Prepared(data, first, self._decoders.decode(frame))

    def caption(self, prepared: Prepared) -> Caption:
        """Ask the second captioner. Raises ModelErrors."""
        (answer,) = self._captioner.caption([prepared.image.pixels])
        if isinstance(answer, Exception):
            raise answer
        if not answer.text.strip():
            raise ModelError("the second captioner's caption is empty")
        return answer

    def commit(self, candidate: Candidate, prepared: Prepared, caption: Caption) -> Outcome:
        """Replace the sidecar that was read, and no other one. Raises StoreUnavailable."""
        refined = refined_sidecar(prepared.first, caption, self._captioner.model, datetime.now(UTC))
        outcome = self._store.replace_sidecar(candidate.key, sidecar.encode(refined), if_match=prepared.data)
        return Outcome.REFINED if outcome is CommitResult.COMMITTED else Outcome.SUPERSEDED

    def close(self) -> None:
        self._decoders.close()
        close_captioner(self._captioner)


def refined_sidecar(first: Sidecar, caption: Caption, model: ModelName, now: datetime) -> Sidecar:
    """Return the sidecar with the second caption; `first_look` keeps what the first one said."""
    assert first.caption is not None
    assert first.model is not None
    return first.model_copy(
        update={
            "schema_version": sidecar.SCHEMA_VERSION,
            "caption": caption.text,
            "steady_caption": None if first.steady_caption is None else caption.text,
            "confidence": None if caption.confidence is None else min(caption.confidence, 1.0),
            "uncertain": caption.uncertain,
            "tokens": [
                sidecar.Token(text=word, log_probability=min(value, 0.0))
                for word, value in zip(caption.words, caption.log_probabilities, strict=True)
            ],
            "alternatives": [
                sidecar.Alternative(caption=text, confidence=min(value, 1.0)) for text, value in caption.alternatives
            ],
            "truncated": caption.truncated,
            "model": sidecar.Model(name=model.name, bundle=model.bundle_hash, runtime=model.runtime),
            "first_look": FirstLook(
                caption=first.caption, confidence=first.confidence, uncertain=first.uncertain, model=first.model
            ),
            "committed_at": now,
        }
    )


def _parsed(data: bytes) -> Sidecar | None:
    try:
        return sidecar.decode(data)
    except SidecarError:
        return None
