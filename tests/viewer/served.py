"""The page as a browser meets it: served on a free port, asked over HTTP; and stores with sidecars in them to serve."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import cv2
import numpy as np

from framecap.config import CaptioningConfig, Config, IngestConfig, StoreConfig, TimelineConfig, ViewerConfig
from framecap.frames import FrameName, camera_of, make_key, parse_key, sidecar_key
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Failure, Frame, Model, Sidecar, Worker
from framecap.stores import open_store
from framecap.viewer.serve import serving

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Page:
    address: str

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: str = "", **query: str
    ) -> Answer:
        connection = self.connection()
        try:
            target = f"{path}?{urlencode(query)}" if query else path
            connection.request(method, target, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def connection(self) -> HTTPConnection:
        return HTTPConnection(urlsplit(self.address).netloc, timeout=20)

    @contextmanager
    def news(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """The server-sent events: name and data of each, as they come."""
        connection = self.connection()
        connection.request("GET", "/api/news")
        try:
            yield events(connection.getresponse())
        finally:
            connection.close()


def events(answer: HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    while line := answer.readline().decode().rstrip("\n"):
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            answer.readline()
        elif line.startswith((":", "retry")) and answer.peek(1)[:1] == b"\n":
            answer.readline()


@contextmanager
def page_over(frames: Path | StoreConfig, index: Path, **viewer: Any) -> Iterator[Page]:
    """The page over a directory or another place, with no model and quick scans."""
    config = Config(
        store=frames if isinstance(frames, StoreConfig) else StoreConfig(frames=str(frames)),
        ingest=IngestConfig(scan_seconds=0.1),
        captioning=CaptioningConfig(runtime="null"),
        timeline=TimelineConfig(index=str(index)),
        viewer=ViewerConfig(**{"port": 0, **viewer}),
    )
    with serving(config, open_store(config.store)) as address:
        yield Page(address)


def until(ready: Callable[[], Any], seconds: float = 20) -> Any:
    """What `ready` gives when it gives something."""
    deadline = time.monotonic() + seconds
    while not (given := ready()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return given


def key_of(camera: str, second: float) -> str:
    return make_key(FrameName(camera, START + timedelta(seconds=second), abs(round(second))))


def jpeg(shade: int = 120, width: int = 64, height: int = 48) -> bytes:
    pixels = np.full((height, width, 3), shade, np.uint8)
    cv2.circle(pixels, (width // 2, height // 2), height // 4, (40, 60, 220), -1)
    done, data = cv2.imencode(".jpg", pixels)
    assert done
    return data.tobytes()


def put_frame(frames: Path, key: str, data: bytes | None = None) -> Path:
    path = frames / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if data is None else data)
    return path


def commit(frames: Path, key: str, caption: str | None, error: Failure | None = None, **changes: Any) -> Sidecar:
    """A frame's sidecar, captioned or failed with an error, in a directory."""
    made = make(key, caption, error, **changes)
    path = frames / sidecar_key(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(sidecar.encode(made))
    temporary.rename(path)
    return made


def make(key: str, caption: str | None, error: Failure | None = None, **changes: Any) -> Sidecar:
    """A frame's sidecar: captioned, or failed with an error."""
    name = parse_key(key)
    return Sidecar(
        status="failed" if error else "captioned",
        frame=Frame(key=key, camera=camera_of(key), captured_at=name.captured_at if name else START, width=64, height=48),
        caption=caption,
        confidence=None if error else changes.pop("confidence", 0.8),
        error=error,
        model=None if error else Model(name="null", bundle="0" * 64, runtime="null"),
        worker=Worker(host="here", pid=1, version="0"),
        committed_at=datetime.now(UTC),
    ).model_copy(update=changes)


def captioned_frame(frames: Path, camera: str, second: float, caption: str, **changes: Any) -> str:
    """A frame and its caption; the key."""
    key = key_of(camera, second)
    put_frame(frames, key)
    commit(frames, key, caption, **changes)
    return key


def failed_frame(frames: Path, camera: str, second: float, kind: str = "undecodable") -> str:
    key = key_of(camera, second)
    put_frame(frames, key, b"no image")
    commit(frames, key, None, Failure(kind=kind, message="not a JPEG, PNG or WebP image", attempts=1))
    return key
