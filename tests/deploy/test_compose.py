"""The compose files: their schema, nobody has more rights than needed, the server's rights are what they are meant to be."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import yaml

from tests.deploy.tools import DEPLOY, HALF_A_MINUTE, lint

COMPOSE = DEPLOY / "compose"
FILES = [COMPOSE / "compose.yaml", COMPOSE / "compose.camera.yaml"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILES[0].read_text())
    return loaded


def test_the_files_fit_the_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *FILES)


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    assert len(compose["services"]) == 10
    for name, service in compose["services"].items():
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode", "devices"} & set(service), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].partition(":")[0] not in ("", "0", "root"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            assert source in compose["volumes"] or rest.endswith(":ro"), f"{name}: {volume}"


def test_the_camera_brings_a_device_and_its_group_and_no_more() -> None:
    camera = yaml.safe_load(FILES[1].read_text())["services"]
    assert list(camera) == ["capture"]
    assert set(camera["capture"]) == {"devices", "group_add"}


def test_no_word_stands_for_a_secret(compose: dict[str, Any]) -> None:
    example = dict(
        line.split("=", 1) for line in (COMPOSE / "example.env").read_text().splitlines() if re.match(r"[A-Z]", line)
    )
    wanted = set(re.findall(r"\$\{([A-Z0-9_]+):\?", "".join(file.read_text() for file in FILES)))
    assert wanted | {"COMPOSE_PROFILES"} == set(example)
    assert all(not value for name, value in example.items() if name.endswith(("SECRET", "PASSWORD")))
    profiles = {profile for service in compose["services"].values() for profile in service.get("profiles", [])}
    assert example["COMPOSE_PROFILES"] in profiles
    (cameras,) = shlex.split(example["CAMERAS"])
    assert yaml.safe_load(cameras) == [{"name": "clip", "source": "/samples/clip.mp4"}]


def test_images_have_versions(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_files_that_are_mounted_exist_and_configs_are_used(compose: dict[str, Any]) -> None:
    used = {config["source"] for service in compose["services"].values() for config in service.get("configs", [])}
    assert used == set(compose["configs"])
    for name, config in compose["configs"].items():
        assert "content" in config or (COMPOSE / config["file"]).is_file(), name


def test_workers_and_capture_have_time_to_finish(compose: dict[str, Any]) -> None:
    from framecap.capture.writer import GRACE_SECONDS
    from framecap.config import WorkerConfig

    needed = dict.fromkeys(("worker-1", "worker-2", "queue-worker"), WorkerConfig().grace_seconds + HALF_A_MINUTE)
    for name, seconds in (needed | {"capture": GRACE_SECONDS}).items():
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > seconds, name


def test_prometheus_asks_whoever_serves(compose: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) <= set(compose["services"])
    assert f"FRAMECAP__TELEMETRY__PORT={found['port']}" in (DEPLOY / "docker" / "framecap.Dockerfile").read_text()


def test_identities_of_the_s3_server_are_json_and_narrow(compose: dict[str, Any]) -> None:
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", compose["configs"]["s3_identities"]["content"])
    identities = {one["name"]: one for one in json.loads(text)["identities"]}
    keys = {one["credentials"][0]["accessKey"]: one["credentials"][0]["secretKey"] for one in identities.values()}
    assert {action for name in ("capture", "worker") for action in identities[name]["actions"]} == {
        "Read:frames",
        "Write:frames",
        "List:frames",
    }
    for name in ("bucket", "capture", "worker-1", "worker-2", "queue-worker", "producer"):
        environment = compose["services"][name]["environment"]
        secret = re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", environment["AWS_SECRET_ACCESS_KEY"])
        assert keys[environment["AWS_ACCESS_KEY_ID"]] == secret, name
