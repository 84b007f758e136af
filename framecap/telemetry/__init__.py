"""What every package may use to be seen from outside: log lines without credentials, metrics, health. Imports no other
package.

The HTTP server that shows them is `telemetry/server.py`, imported by who starts one.
"""

from __future__ import annotations

from framecap.telemetry.checks import Health, Heartbeat, health
from framecap.telemetry.logs import JsonFormatter, TextFormatter, forward_logging, set_up_logging
from framecap.telemetry.masking import MASK, mask, mask_all, without_secrets
from framecap.telemetry.metrics import (
    events,
    events_oldest_seconds,
    events_waiting,
    foreign_sidecars,
    frames_captured,
    frames_committed,
    frames_dropped,
    last_commit,
    model,
    model_reloads,
    oldest_pending_seconds,
    pending_frames,
    refine_budget_left,
    refine_waiting,
    refined,
    source_freezes,
    source_reconnects,
    spooled_bytes,
    spooled_frames,
    stage_seconds,
    store_errors,
)

__all__ = [
    "MASK",
    "Health",
    "Heartbeat",
    "JsonFormatter",
    "TextFormatter",
    "events",
    "events_oldest_seconds",
    "events_waiting",
    "foreign_sidecars",
    "forward_logging",
    "frames_captured",
    "frames_committed",
    "frames_dropped",
    "health",
    "last_commit",
    "mask",
    "mask_all",
    "model",
    "model_reloads",
    "oldest_pending_seconds",
    "pending_frames",
    "refine_budget_left",
    "refine_waiting",
    "refined",
    "set_up_logging",
    "source_freezes",
    "source_reconnects",
    "spooled_bytes",
    "spooled_frames",
    "stage_seconds",
    "store_errors",
    "without_secrets",
]
