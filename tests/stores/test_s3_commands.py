"""The commands on a bucket, as a user types them: capture, work, run, check, and what they say of a wrong address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import framecap
from framecap.errors import ConfigError
from framecap.sidecars import sidecar
from tests import command
from tests.s3 import Bucket

FRAMES_OF_THE_CLIP = 26


def summary(stderr: str) -> dict[str, object]:
    """The last line of a command's log."""
    return dict(json.loads(stderr.splitlines()[-1]))


def check(bucket: Bucket) -> None:
    """One valid sidecar for each frame, and nothing else."""
    paths = [path for path in bucket.paths() if path.startswith("cams/")]
    frames = [path for path in paths if path.endswith(".jpg")]
    assert len(frames) == FRAMES_OF_THE_CLIP
    assert sorted([*frames, *(f"{frame}.json" for frame in frames)]) == sorted(paths)
    for frame in frames:
        assert sidecar.decode(bucket.get(f"{frame}.json")).frame.key == frame.removeprefix("cams/")


def test_capture_and_work_and_run_again(clip: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_address, settings = f"{bucket.address}cams", bucket.settings()
    captured = command.run("capture", clip, "--frames", store_address, cwd=tmp_path, **settings)
    assert captured.returncode == 0, captured.stderr
    assert summary(captured.stderr)["captured"] == FRAMES_OF_THE_CLIP
    worked = command.run("work", "--once", "--frames", store_address, "--runtime", "null", cwd=tmp_path, **settings)
    assert worked.returncode == 0, worked.stderr
    assert summary(worked.stderr)["captioned"] == FRAMES_OF_THE_CLIP
    assert str(summary(worked.stderr)["sidecars"]).startswith(f"{store_address}/clip/2020/")
    again = command.run("run", clip, "--frames", store_address, "--runtime", "null", cwd=tmp_path, **settings)
    assert again.returncode == 0, again.stderr
    numbers = summary(again.stderr)
    assert (numbers["captured"], numbers["already_there"], numbers["captioned"]) == (0, FRAMES_OF_THE_CLIP, 0)
    check(bucket)
    assert list(tmp_path.iterdir()) == [], "an address of a bucket is no path"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.server.url)
    read = [each.frame.key for each in framecap.read_sidecars(store_address)]
    assert len(read) == FRAMES_OF_THE_CLIP
    assert read == sorted(read)
    with pytest.raises(ConfigError, match="no such bucket"):
        framecap.read_sidecars("s3://nothing-here")


def test_check_tells_what_the_bucket_can_do(bucket: Bucket, tmp_path: Path) -> None:
    done = command.run("check", "--frames", f"{bucket.address}cams", cwd=tmp_path, **bucket.settings())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "yes refuse to create it again: no frame is committed twice" in done.stdout
    assert "everything is ready" in done.stdout
    assert bucket.paths() == []


@pytest.mark.parametrize(
    ("address", "settings", "exit_code", "words"),
    [
        ("s3://nothing-here/cams", {}, 2, "no such bucket: create it"),
        ("s3://frames/cams", {"AWS_ACCESS_KEY_ID": ""}, 3, "no credentials for S3"),
        ("s3://frames/cams", {"FRAMECAP__STORE__S3__ENDPOINT": "http://127.0.0.1:1"}, 1, "does not answer"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    bucket: Bucket, tmp_path: Path, address: str, settings: dict[str, str], exit_code: int, words: str
) -> None:
    environment = {**bucket.settings(), "FRAMECAP__STORE__S3__ATTEMPTS": "2", **settings}
    done = command.run("work", "--once", "--frames", address, "--runtime", "null", cwd=tmp_path, **environment)
    assert done.returncode == exit_code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert bucket.server.secret_key not in done.stdout + done.stderr
