"""The package: what importing it costs, which package knows which, what the wheel holds, and that the wheel does the job."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import pytest

import framecap

ROOT = Path(__file__).parents[1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
HEAVY = {"torch", "torchvision", "cv2", "boto3", "onnxruntime", "numpy", "pydantic", "watchdog"}

# A package imports only from packages above it.
PACKAGES = [
    "errors",
    "telemetry",
    "config",
    "frames",
    "runtime",
    "stores",
    "sidecars",
    "decoding",  # the only decoder of capture and worker
    "capture",
    "ingest",
    "scoring",
    "captioning",
    "worker",
    "timeline",
    "events",
    "refine",
    "upkeep",
    "viewer",
    "bench",
    "app",
    "cli",
]


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_framecap_is_light() -> None:
    assert not HEAVY & modules_after("import framecap")


def test_reading_sidecars_needs_no_model_and_no_opencv() -> None:
    assert not {"torch", "cv2", "boto3", "onnxruntime"} & modules_after("from framecap import *")


def test_help_imports_nothing_heavy() -> None:
    statement = "from framecap.cli.parser import make_parser; make_parser().format_help()"
    assert not (HEAVY | {"yaml", "prometheus_client", "tqdm"}) & modules_after(statement)


def test_the_public_names_are_there() -> None:
    assert {name: getattr(framecap, name) for name in framecap.__all__}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        framecap.nothing  # noqa: B018


def imported(file: Path) -> Iterator[str]:
    """Dotted names of the modules (or names of modules) that a file imports, in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def python_files(package: str) -> list[Path]:
    return [
        path for path in sorted((ROOT / package).rglob("*.py")) if path.parent != ROOT / package or path.stem[:2] != "__"
    ]


@pytest.mark.parametrize("file", python_files("framecap"), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_space_imports_only_from_packages_above_it(file: Path) -> None:
    part = file.relative_to(ROOT / "framecap").parts[0].removesuffix(".py")
    allowed = PACKAGES[: PACKAGES.index(part) + 1]
    for name in imported(file):
        parts = name.split(".")
        assert parts[0] != "train", f"{file} imports {name}: train imports framecap, never the reverse"
        if parts[0] == "framecap" and len(parts) > 1 and not hasattr(framecap, parts[1]):
            assert parts[1] in allowed, f"{file} imports {name}"


def test_the_list_of_packages_is_whole() -> None:
    there = {path.relative_to(ROOT / "framecap").parts[0].removesuffix(".py") for path in python_files("framecap")}
    assert there == set(PACKAGES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("framecap", "train"):
        shutil.copytree(ROOT / name, source / name, ignore=hidden)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", out, source)
    (built,) = out.iterdir()
    return built


def pip(python: str | Path, *arguments: str | Path) -> None:
    done = subprocess.run(
        [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)],
        env=CLEAN,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_file,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(metadata_file).decode())
    for package in ("framecap", "train"):
        sources = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert sources <= names
    assert {"framecap/py.typed", "framecap/sidecar.schema.json", "framecap/bundles/default/bundle.json"} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "framecap" / "viewer" / "static").iterdir()} <= names
    assert {name.split("/")[0] for name in names} == {"framecap", "train", metadata_file.split("/")[0]}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    extras = {"export", "gpu", "openai", "transformers", "train", "viewer", "events", "dev"}
    assert extras == set(metadata.get_all("Provides-Extra") or [])
    base = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert not [line for line in base if line.startswith(("torch", "timm"))]


@pytest.mark.timeout(300)  # a slow package index is not our failure; it is less than a minute otherwise
def test_the_wheel_in_an_empty_environment_captions_the_clip(wheel: Path, clip: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    pip(home / "bin" / "python", "install", wheel)
    done = subprocess.run(
        [home / "bin" / "framecap", "run", clip],
        cwd=tmp_path,
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    captions = [json.loads(line)["caption"] for line in done.stdout.splitlines()]
    assert len(captions) == 26
    assert sum("dog" in caption for caption in captions) >= 20
    assert len(list(tmp_path.glob("frames/**/*.jpg.json"))) == 26
    assert not list(home.glob("lib/*/site-packages/torch"))
