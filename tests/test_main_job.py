"""The main job with the bundled model, as its users run it: a video, a killed run, a flood of files, a mounted bucket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

import framecap
from framecap.sidecars import sidecar
from tests import command
from tests.s3 import MountedBucket
from tests.system_packages import needs_package
from tests.worker.fakes import check_oracle

LIMIT_SECONDS = 100.0


def wait_until(happened: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + LIMIT_SECONDS
    while not happened():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


def sidecars(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.json"))


@contextmanager
def worker(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`framecap work` on the folder, ended by SIGTERM; its end must be in good order."""
    with (folder.parent / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [*command.COMMAND, "work", "--frames", str(folder), *arguments],
            env=command.environment(),
            cwd=folder.parent,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cctv() -> Path:
    return needs_package("opencv-doc", "/usr/share/doc/opencv-doc/examples/data/vtest.avi")


def test_the_shipped_clip_gets_captions_that_see_the_dogs(clip: Path, tmp_path: Path) -> None:
    done = command.run("run", clip, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = check_oracle(tmp_path / "frames")
    assert len(made) == 26
    for each in made.values():
        jsonschema.validate(json.loads(sidecar.encode(each)), sidecar.json_schema())
        assert each.model is not None
        assert each.model.name == "default"
    seen = [each.caption for each in framecap.read_sidecars(tmp_path / "frames") if each.caption]
    assert sum("dog" in caption for caption in seen) >= 0.8 * len(seen), seen
    assert not any("<" in caption for caption in seen)


def test_a_run_killed_in_the_middle_and_started_again(cctv: Path, tmp_path: Path) -> None:
    """Every process is killed with -9 once some sidecars are there; the second run does the rest, and nothing twice."""
    arguments = ("run", cctv, "--every", "10")
    first = command.start(*arguments, cwd=tmp_path, new_session=True)
    frames = tmp_path / "frames"
    wait_until(lambda: frames.exists() and sidecars(frames) > 10, "no sidecars")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = {path: path.read_bytes() for path in frames.rglob("*.json")}
    second = command.run(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert len(check_oracle(frames)) == 80
    whole = {path: data for path, data in before.items() if data}
    assert {path: path.read_bytes() for path in whole} == whole
    assert len(whole) > 10


def test_a_flood_of_copied_folders_is_captioned_once(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    count, folders = (2000, 20) if full else (200, 10)
    source, frames = tmp_path / "source", tmp_path / "frames"
    generator = np.random.default_rng(1)
    for number in range(count):
        folder = source / f"site-{number % 2}" / f"{number % folders:02}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        small = generator.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.resize(small, (320, 240)))
    frames.mkdir()
    with worker(frames):
        subprocess.run(["cp", "-r", *map(str, source.iterdir()), str(frames)], check=True)
        wait_until(lambda: sidecars(frames) == count, "not all frames have a sidecar")
    made = check_oracle(frames)
    assert {each.status for each in made.values()} == {"captioned"}
    output = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    commits = [line["key"] for line in output if line.get("status") == "captioned"]
    assert (len(commits), len(set(commits))) == (count, count)
    figure(f"{count} frames in {folders} folders: each committed once")


def test_capture_into_a_mounted_bucket_and_sidecars_in_the_bucket(
    clip: Path,
    mounted_bucket: MountedBucket,
) -> None:
    """The mission's own shape: an OpenCV capture into an S3 mount, a worker on the mount, sidecars in the bucket."""
    done = command.run("run", clip, "--every", "30", "--frames", mounted_bucket.path, cwd=mounted_bucket.path.parent)
    assert done.returncode == 0, done.stderr
    listed = mounted_bucket.server.client().list_objects_v2(Bucket=mounted_bucket.bucket)["Contents"]
    sizes = {entry["Key"]: entry["Size"] for entry in listed if not entry["Key"].endswith("/")}
    keys = [key for key in sizes if key.endswith(".jpg")]
    assert len(keys) == 11
    assert set(sizes) == {*keys, *(f"{key}.json" for key in keys)}
    client = mounted_bucket.server.client()
    for key in keys:
        data = client.get_object(Bucket=mounted_bucket.bucket, Key=f"{key}.json")["Body"].read()
        assert sidecar.decode(data).frame.key == key
        assert "dog" in (sidecar.decode(data).caption or "")


def test_frames_that_another_host_puts_into_the_bucket_are_found(
    clip: Path,
    tmp_path: Path,
    mounted_bucket: MountedBucket,
) -> None:
    """No event tells of them; the worker's scans of the mount do."""
    command.run("capture", clip, "--every", "100", cwd=tmp_path)
    images = sorted((tmp_path / "frames").rglob("*.jpg"))
    client = mounted_bucket.server.client()
    with worker(mounted_bucket.path, "--runtime", "null"):
        for image in images:
            client.put_object(Bucket=mounted_bucket.bucket, Key=f"elsewhere/{image.name}", Body=image.read_bytes())

        def all_done() -> bool:
            found = client.list_objects_v2(Bucket=mounted_bucket.bucket).get("Contents", [])
            return sum(entry["Key"].endswith(".json") and entry["Size"] > 0 for entry in found) == len(images)

        wait_until(all_done, "the scans did not find them")


def test_an_empty_address_and_no_bundle(tmp_path: Path) -> None:
    assert command.run("work", "--once", "--runtime", "null", cwd=tmp_path).returncode == 0
    shutil.copytree(Path(framecap.__file__).parent / "bundles" / "default", tmp_path / "broken")
    (tmp_path / "broken" / "decoder.onnx").unlink()
    done = command.run("work", "--once", "--bundle", tmp_path / "broken", cwd=tmp_path)
    assert done.returncode == 2
    assert "decoder.onnx" in done.stderr
