"""`framecap caption`: paths of images in, their captions printed; no daemon, no sidecar."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from framecap.app.console import printable, sureness
from framecap.captioning.caption import Caption, Captioner
from framecap.captioning.load import load_captioner
from framecap.config import Config, WorkerConfig
from framecap.decoding.pool import DecodedFrame, DecoderPool, DecoderSettings
from framecap.errors import FramecapError, OversizedFrame, SourceNotFound
from framecap.telemetry import mask

PROMPT = "Enter the path to the image: "


@dataclass(frozen=True, slots=True)
class _Answer:
    file: str
    outcome: Caption | Exception


def caption(config: Config, files: list[str], as_json: bool) -> int:
    """Caption `files`, or the paths that standard input gives; 1 when one of them failed, whose error is printed."""
    captioner = load_captioner(config.captioning)
    count = config.worker.decoders or len(os.sched_getaffinity(0))
    settings = DecoderSettings(
        captioner.image_size,
        config.worker.max_pixels,
        config.worker.decode_timeout_seconds,
        square_resize=captioner.square_input,
    )
    pool = DecoderPool(settings, min(count, len(files) or count))
    failed = False
    try:
        # From a person each path is answered before the next one is asked for; files and pipes go in batches.
        batch_size = (
            config.worker.filled_in(captioner.batch_size, captioner.lanes).batch_size
            if files or not sys.stdin.isatty()
            else 1
        )
        for batch in _batches(files or _asked(), batch_size):
            for answer in _caption_batch(batch, captioner, pool, config.worker):
                failed = failed or isinstance(answer.outcome, Exception)
                _print(answer, as_json)
    finally:
        pool.close()
    return 1 if failed else 0


def _asked() -> Iterator[str]:
    """Paths from standard input, with a prompt for a person."""
    asks = sys.stdin.isatty()
    while True:
        if asks:
            print(PROMPT, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if path := line.strip().strip("'\""):  # a path dragged onto a terminal comes in quotes
            yield path


def _batches(files: Iterable[str], size: int) -> Iterator[list[str]]:
    files = iter(files)
    while batch := list(islice(files, size)):
        yield batch


def _caption_batch(files: list[str], captioner: Captioner, pool: DecoderPool, config: WorkerConfig) -> Iterator[_Answer]:
    with ThreadPoolExecutor(len(files)) as threads:
        decoded = list(threads.map(lambda file: _decode(file, pool, config.max_bytes), files))
    images = [image.pixels for image in decoded if isinstance(image, DecodedFrame)]
    captions = iter(captioner.caption(np.stack(images) if captioner.square_input else images) if images else ())
    for file, image in zip(files, decoded, strict=True):
        yield _Answer(file, next(captions) if isinstance(image, DecodedFrame) else image)


def _decode(file: str, pool: DecoderPool, limit: int) -> DecodedFrame | Exception:
    try:
        return pool.decode(_read(Path(file), limit))
    except FramecapError as error:
        return error


def _read(path: Path, limit: int) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise SourceNotFound("a directory: name images, or caption all of it with framecap work --once --frames")
        if not stat.S_ISREG(found.st_mode):
            raise SourceNotFound("no regular file: name an image")
        if found.st_size > limit:
            raise OversizedFrame(f"{found.st_size} bytes are more than worker.max_bytes allows ({limit})")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceNotFound(f"cannot be read ({reason}): check the path") from None


def _print(answer: _Answer, as_json: bool) -> None:
    outcome = answer.outcome
    if as_json:
        # what is no file may be an address, with a password in it
        file = mask(answer.file) if isinstance(outcome, Exception) else answer.file
        print(json.dumps({"file": file, **_fields(outcome)}), flush=True)
    elif isinstance(outcome, Exception):
        print(printable(mask(f"framecap: {answer.file}: {outcome}")), file=sys.stderr, flush=True)
    else:
        print(printable(f"{answer.file}: {outcome.text}{sureness(outcome.confidence, outcome.uncertain)}"), flush=True)


def _fields(outcome: Caption | Exception) -> dict[str, object]:
    if isinstance(outcome, Exception):
        kind = outcome.kind if isinstance(outcome, FramecapError) else "error"
        return {"error": {"kind": kind, "message": mask(str(outcome))}}
    return {
        "caption": outcome.text,
        "confidence": outcome.confidence,
        "uncertain": outcome.uncertain,
        "truncated": outcome.truncated,
        "alternatives": [{"caption": text, "confidence": sure} for text, sure in outcome.alternatives],
    }
