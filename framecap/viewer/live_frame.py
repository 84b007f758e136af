"""A sidecar in; what lists of the page show of it, and what the frame's own page shows, out. No I/O."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from framecap.sidecars.sidecar import Sidecar
from framecap.telemetry import mask
from framecap.timeline.segments import displayed_caption


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One frame as it stands in a list. Times are Unix seconds; `position` is seconds from the start of a recording."""

    key: str
    camera: str
    captured_at: float
    committed_at: float
    position: float | None
    status: str
    caption: str | None
    confidence: float | None
    uncertain: bool | None
    kind: str | None
    reason: str | None
    mark: str  # changes when the image does: a thumbnail's address may be kept for good

    @staticmethod
    def of(sidecar: Sidecar) -> LiveFrame:
        frame, error = sidecar.frame, sidecar.error
        return LiveFrame(
            key=frame.key,
            camera=frame.camera,
            captured_at=frame.captured_at.timestamp(),
            committed_at=sidecar.committed_at.timestamp(),
            position=frame.position,
            status=sidecar.status,
            caption=displayed_caption(sidecar),
            confidence=sidecar.confidence,
            uncertain=sidecar.uncertain,
            kind=error.kind if error else None,
            reason=mask(error.message) if error else None,
            mark=(frame.sha256 or "")[:12],
        )

    @property
    def sort_key(self) -> tuple[float, str]:
        """In the order of time, then key. A frame of the future (a clock was wrong) is as old as its commit."""
        return min(self.captured_at, self.committed_at), self.key

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def whole(sidecar: Sidecar) -> dict[str, Any]:
    """Everything that the frame's page shows: the list's part, and the rest of the sidecar."""
    document = sidecar.model_dump(mode="json")
    for token in document["tokens"]:
        token["probability"] = math.exp(token.pop("log_probability"))
    if sidecar.error:
        document["error"]["message"] = mask(sidecar.error.message)
    document["warnings"] = [mask(warning) for warning in sidecar.warnings]
    return {"shown": LiveFrame.of(sidecar).as_json(), "sidecar": document}
