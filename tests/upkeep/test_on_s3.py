"""Status and retry on a real S3 server, as a user types them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from framecap.frames import sidecar_key
from framecap.sidecars import sidecar
from tests import command
from tests.s3 import Bucket
from tests.upkeep.test_retry import GOOD, failed


@pytest.mark.faults(1)
def test_failed_frames_of_a_bucket_are_seen_and_done_again_through_kills(bucket: Bucket, tmp_path: Path) -> None:
    keys = [f"door/{n:02d}.jpg" for n in range(40)]
    for key in keys:
        bucket.put(key, GOOD)
        bucket.put(sidecar_key(key), failed(key, "decoder_timeout"))
    bucket.put("yard/new.jpg", GOOD)
    settings = bucket.settings()
    arguments = ("--frames", bucket.address)

    def status() -> dict[str, int]:
        done = command.run("status", *arguments, "--json", cwd=tmp_path, **settings)
        assert done.returncode == 0, done.stderr
        whole = json.loads(done.stdout)
        return {name: whole[name] for name in ("pending", "captioned", "failed", "torn")}

    assert status() == {"pending": 1, "captioned": 0, "failed": 40, "torn": 0}
    reported: list[str] = []
    with command.start("retry", "--runtime", "null", *arguments, cwd=tmp_path, **settings) as process:
        assert process.stdout is not None
        reported += [json.loads(process.stdout.readline())["key"] for _ in range(3)]
        process.kill()
        reported += [json.loads(line)["key"] for line in process.stdout if line.endswith("\n")]
    counts = status()
    assert counts["captioned"] >= len(reported)
    assert counts["captioned"] + counts["failed"] == 40
    rest = command.run("retry", "--runtime", "null", *arguments, cwd=tmp_path, **settings)
    assert rest.returncode == 0, rest.stderr
    reported += [json.loads(line)["key"] for line in rest.stdout.splitlines()]
    assert max(Counter(reported).values()) == 1
    assert status() == {"pending": 1, "captioned": 40, "failed": 0, "torn": 0}
    assert {sidecar.decode(bucket.get(sidecar_key(key))).status for key in keys} == {"captioned"}
