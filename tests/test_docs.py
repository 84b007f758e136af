"""The documents say what is so: generated pages are fresh, examples are valid, links and make targets exist."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from framecap.cli.parser import make_parser
from framecap.config import Config, load_config
from framecap.errors import (
    CaptionerFault,
    CaptionRefused,
    CaptionTimeout,
    CaptionTooLong,
    DecodeError,
    FramecapError,
)
from framecap.sidecars import sidecar

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "samples", "tests", "benchmarks", "train")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))])
PATHS = "".join((ROOT / page).read_text() for page in ("docs/architecture.md", "docs/extend.md", "CONTRIBUTING.md"))


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_generated_pages_are_fresh(generated: dict[str, Any]) -> None:
    for path, text in generated["pages"]().items():
        assert path.read_text() == text, f"{path}: run make docs"


def test_every_command_and_every_flag_has_help_and_every_command_an_example(generated: dict[str, Any]) -> None:
    commands = list(generated["commands"](make_parser()))
    names = [parser.prog.split()[1] for parser in commands]
    running = ["run", "capture", "work", "caption", "check"]
    reading = ["export", "search", "follow", "view", "events", "refine"]
    upkeep = ["status", "retry", "recaption", "gate", "reconcile", "prune"]
    assert names == [*running, *reading, *upkeep, "bench"]
    for parser in commands:
        assert "examples:" in parser.epilog
        assert f"  {parser.prog}" in parser.epilog.replace("| ", "| \n  ")
        assert all(action.help for action in parser._actions)


def test_every_command_is_in_the_readme(generated: dict[str, Any]) -> None:
    readme = (ROOT / "README.md").read_text()
    for parser in generated["commands"](make_parser()):
        assert f"`{parser.prog}" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_of_links_are_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / target if target else page), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("path", re.findall(r"`((?:framecap|train|tests|benchmarks)/[\w/]+\.\w+)`", PATHS))
def test_files_that_the_pages_for_developers_name_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_page_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent == ROOT / "docs" and f"(docs/{page.name})" not in readme] == []


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_that_a_page_shows_are_accepted(page: Path) -> None:
    for block in blocks(page, ""):
        for line in re.findall(r"^(?:\w+=\S+ )*(?:\S*/)?framecap (.*)$", block, re.MULTILINE):
            assert make_parser().parse_args(shlex.split(line, comments=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_settings_that_a_page_shows_are_accepted(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        if re.match(rf"(#.*\n)*({'|'.join(Config.model_fields)}):", block):
            (tmp_path / "config.yaml").write_text(block)
            assert load_config(tmp_path / "config.yaml", environment={})


def test_the_example_of_a_sidecar_is_one() -> None:
    page = (ROOT / "docs" / "sidecar.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert sidecar.decode(example.encode()).status == "captioned"
    assert set(json.loads(example)) == set(sidecar.Sidecar.model_fields)


def test_every_field_of_the_sidecar_is_explained() -> None:
    page = (ROOT / "docs" / "sidecar.md").read_text()
    explained = set(re.findall(r"`([a-z0-9_.]+)`", page))
    fields = set(sidecar.Sidecar.model_fields)
    for name, part in {"frame": sidecar.Frame}.items():
        fields |= {f"{name}.{field}" for field in part.model_fields}
    for part in (sidecar.Token, sidecar.Failure, sidecar.Model, sidecar.Timings, sidecar.Worker):
        fields |= set(part.model_fields)
    assert fields <= explained


def test_every_kind_of_a_frame_s_error_is_explained() -> None:
    page = (ROOT / "docs" / "sidecar.md").read_text()
    kinds = {error.kind for error in DecodeError.__subclasses__()} | {FramecapError.kind, "model", "non_finite"}
    kinds |= {error.kind for error in (CaptionTimeout, CaptionerFault, CaptionRefused, CaptionTooLong)}
    assert kinds <= set(re.findall(r"`([a-z_]+)`", page[page.index("## Kinds of errors") :]))


def test_settings_that_the_documents_name_exist() -> None:
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    sections = "store|capture|ingest|captioning|worker|timeline|events|refine|log|telemetry|viewer"
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it names keys of the past
            continue
        for section, key in re.findall(rf"`({sections})\.([a-z_]+)`", page.read_text()):
            assert key in settings[section], f"{page}: {section}.{key}"


def test_make_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named <= targets
    assert {"run", "view", "test", "lint", "faults", "bench", "bench-compare", "docs", "clean"} == targets
