"""The images' recipes: linted, without root, from pinned bases; and what goes into them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, ROOT, lint

DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))


def test_hadolint_has_nothing_to_say() -> None:
    assert len(DOCKERFILES) == 4
    lint("hadolint", *DOCKERFILES)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_bases_are_pinned_and_the_last_stage_is_no_one_s(file: Path) -> None:
    stages = re.split(r"^FROM ", file.read_text(), flags=re.MULTILINE)[1:]
    own = set(re.findall(r"^FROM \S+ AS (\S+)", file.read_text(), re.MULTILINE))
    for stage in stages:
        base = stage.split()[0]
        assert base in own or re.search(r":\d+\.\d+", base), f"{base}: which version?"
    users = re.findall(r"^USER (\S+)", file.read_text(), re.MULTILINE)
    assert users == ["10001:10001"]


def test_the_gpu_worker_can_compile_kernels() -> None:
    """Triton needs a C compiler and its headers in the image, and runs what it compiled from HOME."""
    text = (DEPLOY / "docker" / "cuda.Dockerfile").read_text()
    (_, worker) = text.split(" AS worker\n")
    (packages,) = re.findall(r"apt-get install -y --no-install-recommends (.*) \\\n", worker)
    assert set(packages.split()) == {"gcc", "libc6-dev"}
    assert "HOME=/tmp" in worker
    assert "--tmpfs /tmp:exec " in text


def test_only_what_is_installed_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    kept = {line[1:] for line in patterns if line.startswith("!")}
    copied = {
        name
        for file in DOCKERFILES
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", file.read_text(), re.MULTILINE)
        for name in line.split()
    }
    assert kept == copied
    assert all((ROOT / name).exists() for name in kept)
