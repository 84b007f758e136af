"""What was captured in; captions.vtt of each video file, beside its frames, out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from framecap.app.parts import frame_address
from framecap.capture.plan import make_plans
from framecap.capture.source import SourceKind
from framecap.config import Config
from framecap.errors import FramecapError
from framecap.sidecars.reader import SidecarFilter, SidecarReader
from framecap.sidecars.sidecar import Sidecar
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.timeline.export.subtitles import WebVtt
from framecap.timeline.segments import moved

logger = logging.getLogger(__name__)

NAME = "captions.vtt"
_SAME_RECORDING = timedelta(seconds=1)


def leave_subtitles(config: Config) -> tuple[str, ...]:
    """Write them, where the frames are on a disk of this machine; the files' places. What goes wrong is only said: the
    captions are in their sidecars, and `framecap export` makes subtitles of them at any time."""
    left = []
    try:
        videos = [
            plan for plan in make_plans(config.capture) if plan.source.kind is SourceKind.VIDEO and plan.start is not None
        ]
        if not videos or "://" in config.store.frames:
            return ()
        store = open_store(config.store)
        for plan in videos if store.hints else ():
            assert plan.start is not None, "chosen so"
            address = frame_address(config.store, f"{plan.name}/{NAME}")
            gap = timedelta(seconds=config.timeline.gap_seconds)
            if _write(store, plan.name, plan.start, gap, Path(address).expanduser()):
                left.append(address)
    except FramecapError as error:
        logger.warning("no subtitles were written: %s", error)
    return tuple(left)


def _write(store: Store, camera: str, start: datetime, gap: timedelta, path: Path) -> bool:
    """Whether there was anything to write."""
    recording = _recording(store, camera, start)
    if next(recording, None) is None:
        return False
    WebVtt(gap).write(_recording(store, camera, start), path)
    return True


def _recording(store: Store, camera: str, start: datetime) -> Iterator[Sidecar]:
    """The sidecars of the recording that began then; its camera may have others."""
    for found in SidecarReader(store).all(SidecarFilter(camera, since=start)):
        frame = found.sidecar.frame
        if frame.position is not None:
            began = moved(frame.captured_at, -timedelta(seconds=frame.position))
            if abs(began - start) < _SAME_RECORDING:
                yield found.sidecar
