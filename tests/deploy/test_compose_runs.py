"""What compose.yaml puts together, run without containers: its S3 server, programs and settings; moto for ElasticMQ."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config

from tests.deploy.tools import DEPLOY
from tests.s3 import free_ports
from tests.sqs import TestQueue, queue, sqs_server

__all__ = ["queue", "sqs_server"]

COMPOSE = DEPLOY / "compose"
BIN = Path(sys.executable).parent
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def filled_in(text: str) -> str:
    """Each secret is its own name."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", text)


def environment(service: str, replaced: dict[str, str]) -> dict[str, str]:
    """A service's, with the addresses that these tests have."""
    given = {name: filled_in(value) for name, value in SERVICES["services"][service]["environment"].items()}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), **given, **replaced}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """The S3 server, started as compose.yaml says, but for its ports and folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "s3.json").write_text(filled_in(SERVICES["configs"]["s3_identities"]["content"]))
    master, volume, filer, s3 = free_ports(4)
    mine = {
        "-dir=/data": f"-dir={tmp_path / 'data'}",
        "-s3.config=/etc/seaweedfs/s3.json": f"-s3.config={tmp_path / 's3.json'}",
        "-s3.ip.bind=0.0.0.0": "-s3.ip.bind=127.0.0.1",
        "-s3.port=8333": f"-s3.port={s3}",
    }
    arguments = SERVICES["services"]["seaweedfs"]["command"]
    assert set(mine) <= set(arguments)
    ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    with (tmp_path / "weed.log").open("wb") as log:
        command = [str(BIN / "weed"), *(mine.get(one, one) for one in arguments), *ports]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        yield f"http://127.0.0.1:{s3}"
        process.kill()
        process.wait()


def client(endpoint: str, name: str) -> Any:
    keys = {"aws_access_key_id": name, "aws_secret_access_key": f"S3_{name.upper()}_SECRET", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, **keys, config=Config(s3={"addressing_style": "path"}))


def test_frames_find_their_way_to_sidecars(endpoint: str, queue: TestQueue, clip: Path, tmp_path: Path) -> None:
    here = {"FRAMECAP__STORE__S3__ENDPOINT": endpoint}
    subprocess.run([sys.executable, COMPOSE / "make_bucket.py", "frames"], env=environment("bucket", here), check=True)
    spool = {
        "FRAMECAP__CAPTURE__SPOOL__DIRECTORY": str(tmp_path / "spool"),
        "FRAMECAP__CAPTURE__CAMERAS": f"[{{name: clip, source: '{clip}'}}]",
    }
    framecap = [sys.executable, "-m", "framecap"]
    capture = [*framecap, *SERVICES["services"]["capture"]["command"]]
    subprocess.run(capture, env=environment("capture", here | spool), check=True, cwd=tmp_path)

    here |= {"FRAMECAP__INGEST__QUEUE": queue.url, "FRAMECAP__CAPTIONING__RUNTIME": "'null'"}
    worker = [*framecap, *SERVICES["services"]["queue-worker"]["command"]]
    producer = [sys.executable, str(COMPOSE / "refill.py"), *SERVICES["services"]["producer"]["command"]]
    producer[producer.index("--every") + 1] = "0.5"
    with ExitStack() as running:
        workers = [started(running, worker, environment("queue-worker", here), tmp_path) for _ in range(2)]
        started(running, producer, environment("producer", here), tmp_path)
        store = client(endpoint, "worker")
        ends = time.monotonic() + 60
        while len(keys := names(store)) < 52:
            assert time.monotonic() < ends, keys
            assert all(one.poll() is None for one in workers)
            time.sleep(0.2)
        for one in workers:
            one.send_signal(signal.SIGTERM)
        assert [one.wait(30) for one in workers] == [0, 0]
    assert sorted(names(store)) == sorted(name for key in keys if key.endswith(".jpg") for name in (key, f"{key}.json"))


def started(running: ExitStack, command: list[str], env: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=env, cwd=folder)
    running.callback(process.wait)
    running.callback(process.kill)
    return process


def names(store: Any) -> list[str]:
    return [item["Key"] for item in store.list_objects_v2(Bucket="frames").get("Contents", [])]


def test_the_queue_is_refilled_only_when_it_is_empty(queue: TestQueue, tmp_path: Path) -> None:
    queue.send("a", "b")
    output = tmp_path / "said"
    say = [sys.executable, "-c", f"import sys; open({str(output)!r}, 'a').write(sys.argv[-1] + '\\n')", "--older-than", "0"]
    command = [sys.executable, str(COMPOSE / "refill.py"), "--every", "0.1", "--", *say]
    with ExitStack() as running:
        started(running, command, environment("producer", {"FRAMECAP__INGEST__QUEUE": queue.url}), tmp_path)
        held = [message for _ in range(2) for message in queue.receive()]
        time.sleep(2)  # that something does not happen can only be waited for
        assert not output.exists()
        for message in held:
            queue.client.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
        ends = time.monotonic() + 30
        while not output.exists():
            assert time.monotonic() < ends
            time.sleep(0.05)
    assert output.read_text().splitlines()[0] == queue.url
