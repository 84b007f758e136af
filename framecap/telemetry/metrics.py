"""What is counted and measured, under its name for Prometheus. Cameras are labels; paths and addresses never are."""

from __future__ import annotations

import platform

from prometheus_client import Counter, Gauge, Histogram, Info

import framecap

frames_captured = Counter("framecap_frames_captured_total", "Frames that capture stored", ["camera"])
frames_dropped = Counter("framecap_dropped_frames_total", "Frames that capture dropped", ["camera", "reason"])
source_reconnects = Counter("framecap_source_reconnects_total", "Times a source was opened again", ["camera"])
source_freezes = Counter(
    "framecap_source_freezes_total", "Times a live source went on sending one and the same image", ["camera"]
)
spooled_frames = Gauge("framecap_spooled_frames", "Frames that wait in capture's spool for the store", ["camera"])
spooled_bytes = Gauge("framecap_spooled_bytes", "Bytes of the frames in capture's spool", ["camera"])
frames_committed = Counter("framecap_frames_total", "Sidecars committed", ["status"])
stage_seconds = Histogram("framecap_stage_duration_seconds", "Time a frame (or batch) spends in a stage", ["stage"])
pending_frames = Gauge("framecap_pending_frames", "Frames without a sidecar that the worker knows of")
oldest_pending_seconds = Gauge("framecap_oldest_pending_seconds", "Age of the oldest pending frame; 0: none is pending")
last_commit = Gauge("framecap_last_commit_timestamp_seconds", "When a sidecar was last committed (Unix time); 0: not yet")
events = Counter(
    "framecap_events_total", "Events by what became of them: fired, delivered, retried, dead, dropped", ["rule", "outcome"]
)
events_waiting = Gauge("framecap_events_waiting", "Events that wait to be delivered", ["action"])
events_oldest_seconds = Gauge("framecap_events_oldest_waiting_seconds", "Age of the oldest waiting event", ["action"])
foreign_sidecars = Gauge("framecap_foreign_sidecars", "Frames that get no sidecar: another program's file has its name")
refined = Counter(
    "framecap_refined_total", "Second looks by outcome: refined, failed, superseded, too_old, dropped", ["outcome"]
)
refine_waiting = Gauge("framecap_refine_waiting", "Frames that wait for a second look")
refine_budget_left = Gauge("framecap_refine_budget_left", "Second looks that the budget allows at the moment")
store_errors = Counter("framecap_store_errors_total", "Store operations that failed", ["operation"])
model_reloads = Counter("framecap_model_reloads_total", "Times another model was asked for (SIGHUP)", ["outcome"])
model = Info("framecap_model", "The model that captions at present")
_build = Info("framecap_build", "The version of framecap that runs, and of Python")
_build.info({"version": framecap.__version__, "python": platform.python_version()})

for _status in ("captioned", "duplicate", "skipped", "failed"):
    frames_committed.labels(_status)  # a rate needs a series that was 0 before
for _outcome in ("refined", "failed", "superseded", "too_old", "dropped"):
    refined.labels(_outcome)
for _outcome in ("loaded", "failed"):
    model_reloads.labels(_outcome)
