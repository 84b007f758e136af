"""A sidecar and what its camera showed before in; the facts that rules look at, and the event as JSON, out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from framecap.sidecars.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Previous:
    """The last captioned frame of a camera: its key, its time, its caption."""

    key: str
    captured_at: datetime
    caption: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A committed sidecar (`commit` names that commit), and its camera's caption before it, if there was one."""

    sidecar: Sidecar
    commit: str
    previous: Previous | None

    @property
    def camera(self) -> str:
        return self.sidecar.frame.camera

    @property
    def captured_at(self) -> datetime:
        return self.sidecar.frame.captured_at

    def for_expressions(self) -> dict[str, Any]:
        """By the names that expressions use; a text that there is not is empty, and no confidence is 0."""
        one = self.sidecar
        return {
            "caption": one.caption or "",
            "steady_caption": one.steady_caption or one.caption or "",
            "previous_caption": self.previous.caption if self.previous else "",
            "camera": one.frame.camera,
            "key": one.frame.key,
            "status": one.status,
            "error": one.error.kind if one.error else "",
            "model": one.model.name if one.model else "",
            "confidence": one.confidence or 0.0,
            "uncertain": bool(one.uncertain),
            "truncated": one.truncated,
            "time": one.frame.captured_at,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """What is delivered: `id` is the same however often it comes, `body` is JSON in UTF-8."""

    id: str
    rule: str
    camera: str
    body: bytes


def make_event(rule: str, facts: Facts, address: str) -> Event:
    """The event of a rule and a commit; `address` is the store as users write it, without credentials."""
    one, previous = facts.sidecar, facts.previous
    name = hashlib.sha256(f"{rule}\n{facts.commit}".encode()).hexdigest()[:32]
    document = {
        "id": name,
        "rule": rule,
        "time": one.frame.captured_at.isoformat(),
        "camera": one.frame.camera,
        "status": one.status,
        "caption": one.caption,
        "steady_caption": one.steady_caption,
        "confidence": one.confidence,
        "uncertain": one.uncertain,
        "error": {"kind": one.error.kind, "message": one.error.message} if one.error else None,
        "frame": one.frame.key,
        "position": one.frame.position,
        "address": address,
        "previous": previous
        and {"frame": previous.key, "time": previous.captured_at.isoformat(), "caption": previous.caption},
        "model": one.model.name if one.model else None,
        "committed_at": one.committed_at.isoformat(),
    }
    return Event(name, rule, one.frame.camera, json.dumps(document, ensure_ascii=False).encode())
