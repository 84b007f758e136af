"""Each command line, setting and script in deploy/ and docs/deploy.md: parsed by the parsers that it is meant for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from framecap.cli.parser import make_parser
from framecap.config import load_config
from tests.deploy.tools import DEPLOY, ROOT, lint


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Where it stands, and the arguments after `framecap`."""
    yield from of_images()
    yield from of_compose()
    yield from of_units()
    for manifest in manifests():
        for container in containers(manifest):
            yield "helm", list(map(str, container["args"]))
    for line in re.findall(r"^(?:\S+/)?framecap (.*)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE):
        yield "docs", shlex.split(line, comments=True)


def of_images() -> Iterator[tuple[str, list[str]]]:
    for file in ("framecap", "cuda"):
        text = (DEPLOY / "docker" / f"{file}.Dockerfile").read_text()
        assert 'ENTRYPOINT ["framecap"]' in text
        for command in re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE):
            yield file, yaml.safe_load(command)


def of_compose() -> Iterator[tuple[str, list[str]]]:
    for name, service in compose()["services"].items():
        command = service.get("command", [])
        if "framecap" in command:  # the producer's
            yield name, [*command[command.index("framecap") + 1 :], "--queue", "http://elasticmq:9324/000000000000/frames"]
        elif (
            str(service.get("image", "")).startswith(("framecap-worker", "framecap-capture")) and "entrypoint" not in service
        ):
            yield name, command


def of_units() -> Iterator[tuple[str, list[str]]]:
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        (line,) = re.findall(r"^ExecStart=/opt/framecap/bin/framecap (.*)$", unit.read_text(), re.MULTILINE)
        yield unit.name, shlex.split(line)


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    for file in ("framecap", "cuda"):
        text = (DEPLOY / "docker" / f"{file}.Dockerfile").read_text()
        yield file, dict(re.findall(r"^ +(FRAMECAP__\w+)=(\S+)", text, re.MULTILINE))
    for name, service in compose()["services"].items():
        cameras = "[{name: door, source: 'rtsp://user:password@192.168.1.20/stream'}]"
        given = {key: str(value) for key, value in service.get("environment", {}).items() if key.startswith("FRAMECAP__")}
        yield name, {key: cameras if "CAMERAS" in value else value for key, value in given.items()}
    for manifest in manifests():
        for container in containers(manifest):
            yield "helm", {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("FRAMECAP__")}
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        yield unit.name, dict(re.findall(r"^Environment=(FRAMECAP__\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    example = (DEPLOY / "systemd" / "environment.example").read_text()
    commented = re.findall(r"^# (FRAMECAP__\w+)=(.*)$", example, re.MULTILINE)
    yield "environment.example", {name: "".join(shlex.split(value)) for name, value in commented}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return loaded


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "helm" / "rendered.yaml").read_text()))


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest.get("spec", {})
    for part in ("jobTemplate", "spec", "template", "spec"):
        spec = spec.get(part, spec)
    return list(spec.get("containers", []))


@pytest.mark.parametrize(("where", "arguments"), list(command_lines()), ids=lambda one: one if isinstance(one, str) else "")
def test_framecap_knows_every_flag(where: str, arguments: list[str]) -> None:
    try:
        make_parser().parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{where}: framecap {shlex.join(arguments)}")


@pytest.mark.parametrize(("where", "environment"), list(environments()), ids=lambda one: one if isinstance(one, str) else "")
def test_framecap_knows_every_setting(where: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEPLOY)  # no config.yaml of the working directory
    load_config(environment=environment)


def test_enough_was_found_to_test() -> None:
    found = [arguments[0] for _, arguments in command_lines()]
    assert {"work", "capture", "reconcile"} <= set(found)
    assert len(found) >= 12
    assert sum(bool(environment) for _, environment in environments()) >= 10


def test_the_box_s_configuration_is_one() -> None:
    load_config(DEPLOY / "systemd" / "config.yaml", environment={})


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [path for path in [ROOT / ".ci" / "run", *DEPLOY.rglob("*.sh")] if path.is_file()]
    lint("shellcheck", *scripts)
