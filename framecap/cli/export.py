"""`framecap export`: a store and a format in; a file, a folder, or text on standard output, out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from framecap.app.parts import existing_store
from framecap.cli.filters import only_camera, sidecar_filter
from framecap.config import Config, StoreConfig
from framecap.errors import ConfigError
from framecap.frames import frame_key_of, is_frame_key
from framecap.sidecars.reader import SidecarReader
from framecap.sidecars.sidecar import Sidecar
from framecap.telemetry import mask, set_up_logging
from framecap.timeline.export.formats import FORMATS
from framecap.timeline.export.writer import Writer

_RECORDS = dict.fromkeys(FORMATS, "sidecars")
_RECORDS |= {"vtt": "subtitles", "srt": "subtitles", "coco": "captions"}
_RECORDS |= dict.fromkeys(("webdataset", "txt", "huggingface"), "images")


def export(config: Config, form: str, to: Path | None, camera: str | None, since: str | None, until: str | None) -> int:
    """Write the chosen captions of the configured store; say how many on standard error."""
    set_up_logging(config.log.level, config.log.format)
    store = existing_store(config.store)
    writer = FORMATS[form](store, timedelta(seconds=config.timeline.gap_seconds))
    if to is not None:
        _check_output(to, config.store, writer)
    chosen = sidecar_filter(store, camera, since, until)
    if writer.one_camera and camera is None:
        chosen = replace(chosen, camera=only_camera(store))
    with tqdm(unit=" sidecars", file=sys.stderr, disable=None, leave=False) as bar:

        def reported() -> Iterator[Sidecar]:
            for found in SidecarReader(store).all(chosen):
                bar.update()
                # Where its folder was copied or renamed, the image is beside the sidecar, not where that says.
                yield found.beside_its_frame() if writer.has_images else found.sidecar

        writer.write(reported(), to)
    what = _RECORDS[form].removesuffix("s") if writer.written == 1 else _RECORDS[form]
    skipped = f"; {writer.skipped} skipped, whose frames are gone" if writer.skipped else ""
    print(mask(f"{writer.written:,} {what} written to {to or 'standard output'}{skipped}"), file=sys.stderr)
    return 0


def _check_output(to: Path, store: StoreConfig, writer: Writer) -> None:
    """Raises ConfigError where the output would be a frame or a sidecar of the store, or in the place of one."""
    target = to.parent.resolve() / to.name
    for address in (store.frames, store.sidecars):
        if not address or "://" in address:
            continue
        root = Path(address).expanduser().resolve()
        if not target.is_relative_to(root):
            continue
        key = target.relative_to(root).as_posix()
        if writer.has_images or is_frame_key(key) or frame_key_of(key) is not None:
            raise ConfigError(
                f"-o {mask(str(to))!r}: this is among the store's frames and sidecars: name a place outside {address}"
            )
