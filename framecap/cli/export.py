"""`framecap export`: a store and a format in; a file, a folder, or text on standard output, out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from framecap.cli.chosen import choice, only_camera
from framecap.cli.parts import existing_store
from framecap.config import Config, StoreConfig
from framecap.errors import ConfigError
from framecap.frames import frame_key_of, is_frame_key
from framecap.sidecar import Sidecar
from framecap.telemetry import mask, set_up_logging
from framecap.timeline.export.formats import FORMATS
from framecap.timeline.export.writer import Writer
from framecap.timeline.reading import Reader

_RECORDS = dict.fromkeys(FORMATS, "sidecars")
_RECORDS |= {"vtt": "subtitles", "srt": "subtitles", "coco": "captions"}
_RECORDS |= dict.fromkeys(("webdataset", "txt", "huggingface"), "pictures")


def export(config: Config, form: str, to: Path | None, camera: str | None, since: str | None, until: str | None) -> int:
    """Write the chosen captions of the configured store; say how many on standard error."""
    set_up_logging(config.log.level, config.log.format)
    store = existing_store(config.store)
    writer = FORMATS[form](store, timedelta(seconds=config.timeline.gap_seconds))
    if to is not None:
        _check_place(to, config.store, writer)
    chosen = choice(store, camera, since, until)
    if writer.one_camera and camera is None:
        chosen = replace(chosen, camera=only_camera(store))
    with tqdm(unit=" sidecars", file=sys.stderr, disable=None, leave=False) as bar:

        def told() -> Iterator[Sidecar]:
            for found in Reader(store).all(chosen):
                bar.update()
                # Where its folder was copied or renamed, the picture is beside the sidecar, not where that says.
                yield found.beside_its_frame() if writer.holds_pictures else found.sidecar

        writer.write(told(), to)
    what = _RECORDS[form].removesuffix("s") if writer.written == 1 else _RECORDS[form]
    left_out = f"; {writer.left_out} left out, whose frames are gone" if writer.left_out else ""
    print(mask(f"{writer.written:,} {what} written to {to or 'standard output'}{left_out}"), file=sys.stderr)
    return 0


def _check_place(to: Path, store: StoreConfig, writer: Writer) -> None:
    """Raises ConfigError where the output would be a frame or a sidecar of the store, or in the place of one."""
    target = to.parent.resolve() / to.name
    for place in (store.frames, store.sidecars):
        if not place or "://" in place:
            continue
        root = Path(place).expanduser().resolve()
        if not target.is_relative_to(root):
            continue
        key = target.relative_to(root).as_posix()
        if writer.holds_pictures or is_frame_key(key) or frame_key_of(key) is not None:
            raise ConfigError(
                f"-o {mask(str(to))!r}: this is among the store's frames and sidecars: name a place outside {place}"
            )
